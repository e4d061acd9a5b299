"""Measures one level of load: warm-up, windows, and the stability check of perf_analyzer.

A level is stable when throughput and latency of each of the last three windows lie within the
stability percentage of their mean; the report is made of these three.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from fastserve import _core
from fastserve.tools.perf.failure import PerfError
from fastserve.tools.perf.model import ServerTimes
from fastserve.tools.perf.settings import Measuring

STABLE_WINDOWS = 3
POLL_S = 0.1
# A server that refuses connections for so long is gone.
GONE_AFTER_S = 3.0
STOP_GRACE_S = 2.0

ServerTimesSource = Callable[[], ServerTimes | None]
Progress = Callable[["_core.LoadSnapshot", "_core.LoadSnapshot"], None]


@dataclass
class Level:
    """What was measured at one load."""

    kind: str
    value: float
    window: _core.LoadSnapshot
    windows: int
    stable: bool
    batch_size: int
    server: ServerTimes | None
    errors: list[tuple[str, int]] = field(default_factory=list)
    interrupted: bool = False
    failure: str | None = None

    @property
    def requests_per_second(self) -> float:
        return self.window.completed / self.window.time_s if self.window.time_s > 0 else 0.0

    @property
    def inferences_per_second(self) -> float:
        return self.requests_per_second * self.batch_size

    def latency_us(self, percentile: float | None) -> float:
        """A percentile, or the mean when none is named."""
        if percentile is None:
            return float(self.window.mean_us)
        return float(self.window.percentile_us(percentile))


class LevelMeasurement:
    """Runs one level. `progress` is called often with the level's start and the latest snapshot."""

    def __init__(
        self,
        generator: _core.LoadGenerator,
        measuring: Measuring,
        server_times: ServerTimesSource,
        progress: Progress,
    ) -> None:
        self._generator = generator
        self._measuring = measuring
        self._server_times = server_times
        self._progress = progress
        self._windows: list[_core.LoadSnapshot] = []
        self._times: list[ServerTimes | None] = []
        self._interrupted = False
        self._gone_since: float | None = None

    def run(self, kind: str, value: float, batch_size: int) -> Level:
        """Measures until stable, out of trials or requests, failed, or interrupted (Ctrl-C)."""
        stable, failure = False, None
        try:
            stable = self._measure()
        except KeyboardInterrupt:
            self._interrupted = True
        except PerfError as error:
            failure = str(error)
        finally:
            self._generator.stop(STOP_GRACE_S)
        merged = _core.LoadSnapshot()
        last = self._windows[-STABLE_WINDOWS:]
        for window in last:
            merged.add(window)
        return Level(
            kind=kind,
            value=value,
            window=merged,
            windows=len(self._windows),
            stable=stable,
            batch_size=batch_size,
            server=self._server_share(len(last)),
            errors=self._generator.errors(),
            interrupted=self._interrupted,
            failure=failure,
        )

    def _measure(self) -> bool:
        if self._measuring.request_count > 0:
            self._window(float("inf"), self._generator.beginning)
            return True
        begin = self._generator.snapshot()
        self._wait(begin, self._measuring.warmup_s)
        for _ in range(self._measuring.max_trials):
            self._window(self._measuring.interval_s)
            if self._too_slow() or self._stable():
                break
        return self._stable()

    def _window(self, seconds: float, begin: "_core.LoadSnapshot | None" = None) -> None:
        if not self._times:
            self._times.append(self._server_times())
        begin = begin or self._generator.snapshot()
        try:
            self._wait(begin, seconds)
        finally:  # an interrupted window counts as far as it came
            window = self._generator.snapshot().since(begin)
            if window.completed + window.failed > 0:
                self._windows.append(window)
                self._times.append(self._server_times())
        if window.completed == 0 and window.failed > 0:
            raise PerfError(f"every request failed: {self._failures()}")

    def _wait(self, begin: "_core.LoadSnapshot", seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self._generator.finished:
            time.sleep(min(POLL_S, left))
            now = self._generator.snapshot()
            self._check_alive(now)
            self._progress(begin, now)

    def _check_alive(self, now: "_core.LoadSnapshot") -> None:
        if now.connections > 0:
            self._gone_since = None
        elif self._gone_since is None:
            self._gone_since = time.monotonic()
        elif time.monotonic() - self._gone_since > GONE_AFTER_S:
            raise PerfError(f"the server is gone: {self._failures()}")

    def _failures(self) -> str:
        errors = self._generator.errors()
        return "; ".join(f"{count} x {text}" for text, count in errors[-3:]) or "no connection"

    def _too_slow(self) -> bool:
        limit = self._measuring.latency_threshold_ms
        return limit is not None and bool(self._windows) and self._latency(-1) > limit * 1000

    def _latency(self, index: int) -> float:
        window, percentile = self._windows[index], self._measuring.percentile
        return float(window.mean_us if percentile is None else window.percentile_us(percentile))

    def _stable(self) -> bool:
        if len(self._windows) < STABLE_WINDOWS:
            return False
        last = self._windows[-STABLE_WINDOWS:]
        rates = [window.completed / window.time_s for window in last]
        latencies = [self._latency(-1 - i) for i in range(STABLE_WINDOWS)]
        return self._close(rates) and self._close(latencies)

    def _close(self, values: list[float]) -> bool:
        mean = sum(values) / len(values)
        allowed = mean * self._measuring.stability_percent / 100
        return mean > 0 and all(abs(value - mean) <= allowed for value in values)

    def _server_share(self, windows: int) -> ServerTimes | None:
        if windows == 0 or len(self._times) <= windows:
            return None
        first, last = self._times[-1 - windows], self._times[-1]
        return last.since(first) if first is not None and last is not None else None
