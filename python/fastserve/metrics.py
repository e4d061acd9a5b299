"""The metrics page: the core's own text, the machine's CPU and memory gauges, and the process's
collectors.

Everything is sampled when the page is asked for, so an idle server uses no CPU. prometheus-client
is imported by the first scrape.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

from fastserve.options import Options


class CpuGauges:
    """nv_cpu_*: utilization since the sample before, at most once per interval. Thread safe."""

    def __init__(self, interval_s: float, proc: str = "/proc") -> None:
        self._interval_s = interval_s
        self._proc = proc
        self._lock = threading.Lock()
        self._times = self._read_times()
        self._utilization = 0.0
        self._sampled_at = time.monotonic()

    def _read_times(self) -> tuple[int, int]:
        """(busy, total) jiffies of all CPUs."""
        with open(f"{self._proc}/stat", encoding="ascii") as file:
            values = [int(word) for word in file.readline().split()[1:9]]
        idle = values[3] + values[4]
        return sum(values) - idle, sum(values)

    def _memory(self) -> tuple[int, int]:
        """(total, used) bytes."""
        sizes = {}
        with open(f"{self._proc}/meminfo", encoding="ascii") as file:
            for line in file:
                key, _, rest = line.partition(":")
                if key in ("MemTotal", "MemAvailable"):
                    sizes[key] = int(rest.split()[0]) * 1024
        return sizes["MemTotal"], sizes["MemTotal"] - sizes["MemAvailable"]

    def _sample(self) -> float:
        with self._lock:
            now = time.monotonic()
            if now - self._sampled_at >= self._interval_s:
                busy, total = self._read_times()
                elapsed = total - self._times[1]
                if elapsed > 0:
                    self._utilization = (busy - self._times[0]) / elapsed
                self._times = (busy, total)
                self._sampled_at = now
            return self._utilization

    def text(self) -> str:
        total, used = self._memory()
        return (
            _gauge(
                "nv_cpu_utilization", "CPU utilization rate [0.0 - 1.0]", round(self._sample(), 6)
            )
            + _gauge("nv_cpu_memory_total_bytes", "CPU total memory (RAM), in bytes", total)
            + _gauge("nv_cpu_memory_used_bytes", "CPU used memory (RAM), in bytes", used)
        )


def _gauge(name: str, text: str, value: float) -> str:
    return f"# HELP {name} {text}\n# TYPE {name} gauge\n{name} {value}\n"


# There is no pinned memory without a GPU; dashboards still find the families.
_PINNED_TEXT = _gauge(
    "nv_pinned_memory_pool_total_bytes", "Pinned memory pool total memory size, in bytes", 0
) + _gauge("nv_pinned_memory_pool_used_bytes", "Pinned memory pool used memory size, in bytes", 0)


class MetricsPage:
    """Makes the text of /metrics. Thread safe."""

    def __init__(self, core_text: Callable[[], str], options: Options) -> None:
        self._core_text = core_text
        self._cpu = (
            CpuGauges(options.metrics_interval_ms / 1000) if options.allow_cpu_metrics else None
        )
        self._registry: Any = None
        self._collectors: list[Any] = []
        self._more_text: list[Callable[[], str]] = []

    def add_collector(self, collector: Any) -> None:
        """Adds a prometheus-client collector of the program that embeds the server."""
        self._collectors.append(collector)
        if self._registry is not None:
            self._registry.register(collector)

    def add_text(self, text: Callable[[], str]) -> None:
        """Adds families that are written elsewhere."""
        self._more_text.append(text)

    def text(self) -> str:
        """The whole page, in the Prometheus text format 0.0.4."""
        parts = [self._core_text(), _PINNED_TEXT]
        if self._cpu is not None:
            parts.append(self._cpu.text())
        parts.append(self._process_text())
        parts += [text() for text in self._more_text]
        return "".join(parts)

    def _process_text(self) -> str:
        import prometheus_client

        if self._registry is None:
            registry = prometheus_client.CollectorRegistry()
            prometheus_client.ProcessCollector(registry=registry)
            for collector in self._collectors:
                registry.register(collector)
            self._registry = registry
        return prometheus_client.generate_latest(self._registry).decode()
