"""Soak: many clients of which some disconnect, cancel or time out; every other answer is checked.

The answers are compared byte for byte with what onnxruntime computes for the same input; afterwards
the server's counters must add up, its memory be flat and its queues empty.
"""

import re
import sys
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from clients import grpc_options, http_options
from harness import (
    Report,
    Server,
    arguments,
    cores,
    fastserve,
    finish,
    parse,
    repository,
    resident_mb,
)
from tiny import INFER, MODEL

# isort: split
from fastserve import _core
from fastserve.tools.perf import payload, wire
from fastserve.tools.perf.model import Target
from fastserve.tools.perf.tensors import TensorData

REQUESTS = 100_000
CLIENTS = 200
DIFFERENT_INPUTS = 64
ABANDONED = 0.1
ABANDON_WITHIN_S = 0.02
DEADLINE = "3m"  # grpc-timeout: 3 ms
MISSED = "gRPC 4 DEADLINE_EXCEEDED"
MEMORY_GROWTH_LIMIT_MB = 16
METRIC = re.compile(r"^(nv_inference_\w+)\{([^}]*)\} (\S+)$", re.MULTILINE)


@dataclass
class Case:
    """One input and the values that onnxruntime computes for it."""

    tensor: TensorData
    expected: bytes


def cases(model_file: Path) -> list[Case]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model_file), providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(11)
    made = []
    for index in range(DIFFERENT_INPUTS):
        rows = 1 + index % 4
        value = generator.standard_normal((rows, 16)).astype(np.float32)
        tensor = TensorData("INPUT0", "FP32", (rows, 16), value.tobytes())
        made.append(Case(tensor, session.run(None, {"INPUT0": value})[0].tobytes()))
    return made


def grpc_load(server: Server, chosen: list[Case], clients: int) -> Any:
    """Requests whose whole expected answer was checked once, call by call."""
    pairs = []
    for case in chosen:
        message = payload.grpc_message(MODEL, [case.tensor])
        asked = grpc_options(server.grpc, INFER, message, 1)
        asked.request_timeout_s = 30
        code, reason, answer = _core.grpc_call(asked)
        if code != 0 or wire.messages(answer, 6) != [case.expected]:
            sys.exit(f"gRPC answers {code} {reason}, or another tensor than onnxruntime")
        pairs.append((message, answer))
    options = grpc_options(server.grpc, INFER, b"", clients, connections=clients // 4)
    options.set_requests(pairs)
    return options


def http_load(server: Server, chosen: list[Case], clients: int) -> Any:
    target = Target("http", "127.0.0.1", str(server.http), "", ())
    pairs = []
    for case in chosen:
        body, size = payload.http_body([case.tensor], json_input=False, json_output=False)
        url = f"http://127.0.0.1:{server.http}/v2/models/tiny/infer"
        headers = {"Inference-Header-Content-Length": str(size)}
        with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as response:
            answer = response.read()
        if not answer.endswith(case.expected):
            sys.exit("HTTP answers another tensor than onnxruntime")
        pairs.append((payload.http_request(target, MODEL, body, size), answer))
    options = http_options(server.http, b"", clients)
    options.set_requests(pairs)
    return options


def hasty_load(server: Server, chosen: list[Case], clients: int) -> Any:
    """gRPC calls with a deadline that many of them miss."""
    options = grpc_load(server, chosen, clients)
    options.grpc_metadata = [("grpc-timeout", DEADLINE)]
    return options


@dataclass
class Ended:
    """What became of one load: its counts, and how many of the failures are missed deadlines."""

    counts: Any
    missed: int


def run_together(loads: list[Any], requests: int) -> list[Ended]:
    """Runs the loads at once until their requests have ended."""
    for load in loads:
        load.max_requests = requests // len(loads)
        load.abandon_fraction, load.abandon_within_s = ABANDONED, ABANDON_WITHIN_S
        load.request_timeout_s = 60
    running = [_core.LoadGenerator.start(load) for load in loads]
    while not all(generator.finished for generator in running):
        time.sleep(0.05)
    return [
        Ended(generator.snapshot(), sum(n for text, n in generator.errors() if MISSED in text))
        for generator in running
    ]


def counters(server: Server) -> dict[str, float]:
    """The model's counters, summed over their other labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics}/metrics") as page:
        text = page.read().decode()
    totals: dict[str, float] = {}
    for name, labels, value in METRIC.findall(text):
        if 'model="tiny"' in labels:
            totals[name] = totals.get(name, 0) + float(value)
    return totals


def settled(server: Server) -> dict[str, float]:
    """The counters once nothing is queued; abandoned requests may still run for a moment."""
    end = time.monotonic() + 10
    while True:
        now = counters(server)
        if now.get("nv_inference_pending_request_count", 0) == 0 or time.monotonic() > end:
            return now
        time.sleep(0.05)


def check(
    report: Report, ended: list[Ended], before: dict[str, float], after: dict[str, float]
) -> None:
    def total(name: str) -> int:
        return sum(getattr(load.counts, name) for load in ended)

    def grown(name: str) -> float:
        return after.get(name, 0) - before.get(name, 0)

    missed = sum(load.missed for load in ended)
    report.notes.append(
        f"{total('sent'):,} sent: {total('completed'):,} answered with the expected bytes, "
        f"{total('abandoned'):,} given up (disconnected or cancelled), "
        f"{missed:,} past their deadline, {total('failed') - missed} failed."
    )
    seen = grown("nv_inference_request_success") + grown("nv_inference_request_failure")
    report.notes.append(
        f"The server counts {grown('nv_inference_request_success'):,.0f} successes and "
        f"{grown('nv_inference_request_failure'):,.0f} failures (cancelled, late)."
    )
    uncounted = max(0, total("completed") - seen)
    invented = max(0, seen - total("sent"))
    pending = grown("nv_inference_pending_request_count")
    report.none("failed or wrong answers", total("failed") - missed)
    report.none("answers that the server does not count", uncounted)
    report.none("requests that it counts beyond those sent", invented)
    report.none("requests left in a queue", pending)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    options = parse(parser)
    requests = 4000 if options.smoke else options.requests
    report = Report(
        "stress",
        "Soak with clients that disconnect and cancel",
        f"{cores()}; {options.clients} clients, a third each over HTTP, over gRPC, and over "
        f"gRPC with a deadline of 3 ms; "
        f"{ABANDONED:.0%} of the requests given up within {1000 * ABANDON_WITHIN_S:.0f} ms.",
    )
    with ExitStack() as stack:
        models = stack.enter_context(repository("tiny"))
        server = stack.enter_context(fastserve(models))
        chosen = cases(models / "tiny" / "1" / "model.onnx")
        third = options.clients // 3
        makers = (http_load, grpc_load, hasty_load)
        loads = [make(server, chosen, third) for make in makers]
        run_together(loads, requests // 4)  # until every pool and arena has its size
        memory = resident_mb(server.pid)
        before = settled(server)
        ended = run_together(loads, requests)
        check(report, ended, before, settled(server))
        growth = max(0.0, resident_mb(server.pid) - memory)
        report.single("memory growth after the first quarter", growth, MEMORY_GROWTH_LIMIT_MB, "MB")
    finish(report, options)
    if not all(row.met for row in report.rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
