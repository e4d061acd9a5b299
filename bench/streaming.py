"""A decoupled model: responses per second over one gRPC stream and over server-sent events, and how
long the first response takes against a unary answer.

The model is `repeat`, which costs next to nothing, so these are the figures of the front ends. The
bound of the rates is what the issue asks for on one core, counted in the server's own processor
time.
"""

import json
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import harness  # noqa: F401  sets the import path
import numpy as np
from clients import grpc_options, own_loop
from harness import (
    Report,
    Server,
    alternate,
    arguments,
    cores,
    fastserve,
    finish,
    parse,
    processor_seconds,
)
from tiny import INFER

# isort: split
from fastserve.tools.perf import payload
from fastserve.tools.perf.model import ModelUnderLoad, TensorSpec
from fastserve.tools.perf.tensors import TensorData

from tests.python.conftest import IDENTITY_CONFIG, write_model
from tests.python.repeat import REPEAT_CONFIG, repeat_json

STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
RESPONSES = 10_000  # of one request
TARGET = 10_000.0  # responses per second and core
_LOOP_S = 0.5 + 0.2  # what own_loop(…, 0.5) takes, with its warm-up
TYPES = {"IN": "INT32", "DELAY": "UINT32", "WAIT": "UINT32"}
REPEAT = ModelUnderLoad(
    "repeat", "", tuple(TensorSpec(name, kind, (-1,)) for name, kind in TYPES.items()), (), 0
)
ECHO = ModelUnderLoad("echo", "", (TensorSpec("INPUT0", "FP32", (-1, -1)),), (), 8)


def repeat_message(count: int) -> bytes:
    """A request for so many responses, without delays between them."""
    zeros = np.zeros(count, np.uint32).tobytes()
    tensors = [
        TensorData("IN", "INT32", (count,), np.arange(count, dtype=np.int32).tobytes()),
        TensorData("DELAY", "UINT32", (count,), zeros),
        TensorData("WAIT", "UINT32", (1,), zeros[:4]),
    ]
    return payload.grpc_message(REPEAT, tensors)


def echo_message() -> bytes:
    value = np.zeros((1, 1), np.float32).tobytes()
    return payload.grpc_message(ECHO, [TensorData("INPUT0", "FP32", (1, 1), value)])


def read_events(port: int, count: int) -> None:
    """One request over HTTP; reads, and counts, all of its events."""
    body = json.dumps(repeat_json(range(count))).encode()
    head = (
        f"POST /v2/models/repeat/generate_stream HTTP/1.1\r\nHost: b\r\nContent-Length: {len(body)}"
    )
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head.encode() + b"\r\n\r\n" + body)
        text = bytearray()
        while not text.endswith(b"0\r\n\r\n"):
            text += connection.recv(1 << 20)
    if text.count(b"data: {") != count:
        raise SystemExit(f"{text.count(b'data: {')} of {count} events came")


def per_core(server: Server, seconds: float, run: Callable[[], int]) -> tuple[float, float]:
    """Responses per second, and per second of the server's processor time."""
    processor, begin = processor_seconds(server.pid), time.monotonic()
    responses = 0
    while time.monotonic() < begin + seconds:
        responses += run()
    used = max(processor_seconds(server.pid) - processor, 0.01)
    return responses / (time.monotonic() - begin), responses / used


def measure(report: Report, server: Server, rounds: int, seconds: float) -> None:
    many = grpc_options(server.grpc, STREAM, repeat_message(RESPONSES), 1)
    samples: dict[str, list[tuple[float, float]]] = {"gRPC": [], "SSE": []}

    def grpc() -> int:
        return round(own_loop(many, 0.5).rate * _LOOP_S * RESPONSES)

    def events() -> int:
        read_events(server.http, RESPONSES)
        return RESPONSES

    for _ in range(rounds):
        samples["gRPC"].append(per_core(server, seconds, grpc))
        samples["SSE"].append(per_core(server, seconds, events))
    for name, values in samples.items():
        bound = [TARGET] * rounds
        report.compare(f"{name}, one stream", [rate for rate, _ in values], bound, "responses/s")
        ours = [rate for _, rate in values]
        report.compare(f"{name}, of a core of the server", ours, bound, "responses/s", ">= 1")


def first_response(report: Report, server: Server, rounds: int, seconds: float) -> None:
    one = grpc_options(server.grpc, STREAM, repeat_message(1), 1)
    unary = grpc_options(server.grpc, INFER, echo_message(), 1)
    ours, theirs = alternate(
        rounds, lambda: own_loop(one, seconds).p50_us, lambda: own_loop(unary, seconds).p50_us
    )
    report.compare("one caller, p50: a stream of one response, and unary", ours, theirs, "us")
    later = [a - b for a, b in zip(ours, theirs, strict=True)]
    report.single("of it, later than unary", sorted(later)[len(later) // 2], 100, "us")


def main() -> None:
    options = parse(arguments(__doc__))
    report = Report(
        "streaming",
        "Streams of a decoupled model",
        f"{cores()}; {RESPONSES} responses to each request; median of {options.rounds} rounds of "
        f"{options.seconds:g} s; the bound is {TARGET:,.0f} responses per second and core.",
    )
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_model(directory, "repeat", REPEAT_CONFIG)
        write_model(directory, "echo", IDENTITY_CONFIG)
        server = stack.enter_context(fastserve(directory))
        measure(report, server, options.rounds, options.seconds)
        first_response(report, server, options.rounds, options.seconds)
    finish(report, options)


if __name__ == "__main__":
    main()
