"""What the server costs when nothing happens: start, processor time, memory, 1,000 open
connections, the metrics of 1,000 models.
"""

import resource
import socket
import statistics
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import tiny
from clients import grpc_options, own_loop
from harness import (
    Report,
    alternate,
    arguments,
    cores,
    fastserve,
    finish,
    parse,
    processor_seconds,
    repository,
    resident_mb,
)

OPEN_CONNECTIONS = 1000
IDLE_CPU_LIMIT = 0.2  # per cent of one core: less than a timer tick a second
MEMORY_LIMIT_MB = 80
START_LIMIT_MS = 1000
SCRAPED_MODELS = 1000
SCRAPE_LIMIT_MS = 50
IDENTITY_CONFIG = """backend: "identity"
max_batch_size: 8
input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [ 16 ] } ]
output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ 16 ] } ]
"""


def idle_cpu_percent(pid: int, seconds: float) -> float:
    before = processor_seconds(pid)
    time.sleep(seconds)
    return 100 * (processor_seconds(pid) - before) / seconds


def open_connections(stack: ExitStack, ports: tuple[int, ...], count: int) -> None:
    """Half of them over HTTP, half over gRPC, none of them sending anything."""
    for index in range(count):
        address = ("127.0.0.1", ports[index % len(ports)])
        stack.enter_context(socket.create_connection(address, timeout=10))


def without_a_model(report: Report, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as empty, fastserve(Path(empty)) as server:
        time.sleep(min(1.0, seconds))
        memory = resident_mb(server.pid)
        cpu = idle_cpu_percent(server.pid, max(2.0, seconds))
    report.single("resident memory without a model", memory, MEMORY_LIMIT_MB, "MB")
    report.single("idle processor use", cpu, IDLE_CPU_LIMIT, "% of a core")


def start_of_a_small_model(report: Report, rounds: int) -> None:
    """From the start of the process to the first 200 of /v2/health/ready."""
    times = []
    with repository("tiny") as models:
        for _ in range(rounds):
            start = time.monotonic()
            with fastserve(models):
                times.append((time.monotonic() - start) * 1000)
    report.single("process start to ready, one tiny model", min(times), START_LIMIT_MS, "ms")


def scrape_of_many_models(report: Report, rounds: int) -> None:
    with ExitStack() as stack:
        models = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for index in range(SCRAPED_MODELS):
            (models / f"model_{index}" / "1").mkdir(parents=True)
            (models / f"model_{index}" / "config.pbtxt").write_text(IDENTITY_CONFIG)
        server = stack.enter_context(fastserve(models))
        times = []
        for _ in range(max(5, rounds)):
            start = time.monotonic()
            with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics}/metrics") as page:
                page.read()
            times.append((time.monotonic() - start) * 1000)
    what = f"scrape of the metrics of {SCRAPED_MODELS:,} models over HTTP"
    report.single(what, statistics.median(times), SCRAPE_LIMIT_MS, "ms")


def with_open_connections(report: Report, rounds: int, seconds: float) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(fastserve(stack.enter_context(repository("tiny"))))
        load = grpc_options(server.grpc, tiny.INFER, tiny.grpc_message(), 8)

        def crowded() -> float:
            with ExitStack() as crowd:
                open_connections(crowd, (server.http, server.grpc), OPEN_CONNECTIONS)
                return own_loop(load, seconds).rate

        rates = alternate(rounds, crowded, lambda: own_loop(load, seconds).rate)
        what = f"8 callers, {OPEN_CONNECTIONS} other connections open against none"
        report.compare(what, *rates, "requests/s", ">= 0.95")


def main() -> None:
    options = parse(arguments(__doc__))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))
    report = Report(
        "idle",
        "Idle",
        f"{cores()}; the first lines against their limits (the best of {options.rounds} starts, "
        "the median scrape); the last one with the sending loop of `fastserve perf`, median of "
        f"{options.rounds} alternating rounds.",
    )
    without_a_model(report, options.seconds)
    start_of_a_small_model(report, options.rounds)
    scrape_of_many_models(report, options.rounds)
    with_open_connections(report, options.rounds, options.seconds)
    finish(report, options)


if __name__ == "__main__":
    main()
