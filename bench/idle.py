"""What the server costs when nothing happens: processor time, memory, 1,000 open connections."""

import resource
import socket
import tempfile
import time
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
        f"{cores()}; the first two lines against their limits; the last one with the sending loop "
        f"of `fastserve perf`, median of {options.rounds} alternating rounds.",
    )
    without_a_model(report, options.seconds)
    with_open_connections(report, options.rounds, options.seconds)
    finish(report, options)


if __name__ == "__main__":
    main()
