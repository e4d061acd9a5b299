"""`dynamic_batching { }` against the best of a small sweep of settings, live.

Three models of different cost curves (bench/cost_curves.py), a server for each setting, all running
at the same time, of which one is under load at a time. Throughput with 32 callers; p99 at half of
the best throughput, with Poisson arrivals. For each figure a sweep finds the setting with the best
median; that one is the bound, measured anew in alternation with the tuned server.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from clients import grpc_options, own_loop
from cost_curves import tuned_subjects
from harness import Report, Server, alternate, arguments, cores, fastserve, finish, parse
from models import CALLERS, Subject, message_of, write_repository
from tiny import INFER

# isort: split
from fastserve import _core

MODELS = ("tiny", "minilm", "magika")
MAX_BATCH_SIZE = 32
TUNED = ""
LEARNING = 4
LEAST_SECONDS = 2.0  # a batch of 32 rows takes a quarter of a second
LEAST_REQUESTS = 1500.0  # of a p99
LONGEST_SECONDS = 30.0
SWEEP_ROUNDS = 2
# Preferred sizes, and delays in microseconds; the delays are about half of what one row of the real
# models costs, and a little.
SWEEP = {
    "preferred 32": "preferred_batch_size: 32",
    "preferred 8": "preferred_batch_size: 8",
    "preferred 2": "preferred_batch_size: 2",
    "preferred 1": "preferred_batch_size: 1",
    "preferred 8, delay 4 ms": "preferred_batch_size: 8 max_queue_delay_microseconds: 4000",
    "preferred 32, delay 0.2 ms": "preferred_batch_size: 32 max_queue_delay_microseconds: 200",
}
CONFIG = """backend: "onnxruntime"
max_batch_size: {batch}
dynamic_batching {{ {batching} }}
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
"""


def rate_of(server: Server, message: bytes, seconds: float) -> float:
    load = grpc_options(server.grpc, INFER, message, CALLERS, connections=4)
    return own_loop(load, seconds).rate


def p99_of(server: Server, message: bytes, rate: float, seconds: float) -> float:
    """At a given rate of Poisson arrivals."""
    load = grpc_options(server.grpc, INFER, message, 1024, connections=4)
    load.arrival, load.request_rate = _core.Arrival.POISSON, rate
    return own_loop(load, seconds).p99_us


def settings(names: list[str]) -> dict[str, str]:
    return {"{ }": TUNED, **{name: SWEEP[name] for name in names}}


def sweep(servers: dict[str, Server], measure: Callable[[Server], float]) -> dict[str, float]:
    """Medians of the settings made by hand."""
    by_hand = {name: server for name, server in servers.items() if name != "{ }"}
    sides = [lambda server=server: measure(server) for server in by_hand.values()]
    samples = alternate(SWEEP_ROUNDS, *sides)
    return {name: statistics.median(s) for name, s in zip(by_hand, samples, strict=True)}


def compare(
    report: Report, subject: Subject, servers: dict[str, Server], options: argparse.Namespace
) -> None:
    rounds, seconds = options.rounds, options.seconds
    message = message_of(subject)
    for name, server in servers.items():
        # The tuning has to see each size a few times first.
        rate_of(server, message, LEARNING * seconds if name == "{ }" else seconds / 2)

    def rate(server: Server) -> float:
        return rate_of(server, message, seconds)

    def against(best: str, measure: Callable[[Server], float]) -> list[list[float]]:
        pair = servers["{ }"], servers[best]
        return alternate(rounds, *(lambda s=s: measure(s) for s in pair))

    rates = sweep(servers, rate)
    best = max(rates, key=rates.__getitem__)
    what = f"{subject.name}, {CALLERS} callers; best: {best}"
    report.compare(what, *against(best, rate), "rows/s", ">= 0.85")
    half = rates[best] / 2
    long = max(seconds, min(LEAST_REQUESTS / half, LONGEST_SECONDS))
    if options.smoke:
        long = seconds

    def tail(server: Server) -> float:
        return p99_of(server, message, half, long)

    tails = sweep(servers, tail)
    best = min(tails, key=tails.__getitem__)
    what = f"{subject.name}, p99 at {half:,.0f} rows/s; best: {best}"
    report.compare(what, *against(best, tail), "us", "<= 1.15")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--only", choices=MODELS)
    options = parse(parser)
    options.seconds = max(options.seconds, LEAST_SECONDS)
    swept = list(SWEEP)[1:2] if options.smoke else list(SWEEP)
    options.rounds = options.rounds if options.smoke else max(options.rounds, 5)
    report = Report(
        "self_tuning",
        "dynamic_batching { } against the best setting found by hand",
        f"{cores()}; gRPC, {CALLERS} callers on 4 connections, then Poisson arrivals at half "
        f"of the best rate; one instance; the best of {len(swept)} settings; median of "
        f"{options.rounds} alternating rounds of {options.seconds:g} s, for a p99 as long as "
        f"{LEAST_REQUESTS:,.0f} requests take.",
    )
    for name in MODELS:
        if options.only not in (None, name):
            continue
        with ExitStack() as stack:
            root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            servers = {}
            for index, (setting, batching) in enumerate(settings(swept).items()):
                config = CONFIG.format(batch=MAX_BATCH_SIZE, batching=batching)
                chosen = [s for s in tuned_subjects(root, config) if s.name == name]
                place = write_repository(root / f"repository-{index}", chosen)
                servers[setting] = stack.enter_context(fastserve(place))
            compare(report, chosen[0], servers, options)
    finish(report, options)


if __name__ == "__main__":
    main()
