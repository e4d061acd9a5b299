"""An ensemble of three tiny ONNX models, one after the other, against one of them, over gRPC.

Both are served by the same process; the difference is what two more models and the ensemble cost.
"""

import shutil
from contextlib import ExitStack
from dataclasses import replace
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
    repository,
)

from tests.models.ensembles import chain, ensemble

CALLERS = 64
MEMBERS = ("first", "second", "third")


def add_ensemble(directory: Path) -> None:
    """Three copies of the tiny model, and the ensemble that runs them in turn."""
    for member in MEMBERS:
        shutil.copytree(directory / "tiny", directory / member)
    (directory / "three" / "1").mkdir(parents=True)
    config = ensemble(chain(MEMBERS), ["INPUT0 FP32 [16]"], ["OUTPUT0 FP32 [16]"])
    (directory / "three" / "config.pbtxt").write_text(config)


def main() -> None:
    options = parse(arguments(__doc__))
    report = Report(
        "ensemble",
        "Ensemble of three tiny models against one of them",
        f"{cores()}; the sending loop of `fastserve perf` over gRPC; median of {options.rounds} "
        f"alternating rounds of {options.seconds:g} s.",
    )
    with ExitStack() as stack:
        directory = stack.enter_context(repository("tiny"))
        add_ensemble(directory)
        server = stack.enter_context(fastserve(directory))
        three = tiny.grpc_message(replace(tiny.MODEL, name="three"))
        one = tiny.grpc_message()

        def p50(message: bytes) -> float:
            return own_loop(
                grpc_options(server.grpc, tiny.INFER, message, 1), options.seconds
            ).p50_us

        def rate(message: bytes) -> float:
            load = grpc_options(server.grpc, tiny.INFER, message, CALLERS)
            return own_loop(load, options.seconds).rate

        latencies = alternate(options.rounds, lambda: p50(three), lambda: p50(one))
        report.compare("one caller, p50", *latencies, "us", "<= 1.5")
        rates = alternate(options.rounds, lambda: rate(three), lambda: rate(one))
        report.compare(f"{CALLERS} callers", *rates, "requests/s")
    finish(report, options)


if __name__ == "__main__":
    main()
