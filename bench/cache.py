"""Hits of the response cache over gRPC against the identity backend, which copies nothing.

Both answer the same tiny request; the cached model is an ONNX model that runs once.
"""

import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import tiny
from clients import grpc_options, h2load, own_loop
from harness import Report, alternate, arguments, cores, fastserve, finish, parse, repository

CALLERS = 64
CACHE = "--cache-config=local,size=67108864"
CACHED = """name: "tiny"
backend: "onnxruntime"
max_batch_size: 4
dynamic_batching { }
response_cache { enable: true }
"""
IDENTITY = """backend: "identity"
max_batch_size: 4
dynamic_batching { }
input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [ 16 ] } ]
output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ 16 ] } ]
"""


def write_models(root: Path) -> None:
    """Beside the plain `tiny`'s file: its configuration, and an identity model."""
    (root / "tiny" / "config.pbtxt").write_text(CACHED)
    (root / "echo" / "1").mkdir(parents=True)
    (root / "echo" / "config.pbtxt").write_text(IDENTITY)


def main() -> None:
    options = parse(arguments(__doc__))
    report = Report(
        "cache",
        "Hits of the response cache against identity",
        f"{cores()}; gRPC, h2load -c {CALLERS} -m 1 -t 1 for rates, the sending loop of "
        f"`fastserve perf` for one caller; median of {options.rounds} alternating rounds of "
        f"{options.seconds:g} s.",
    )
    with ExitStack() as stack:
        root = stack.enter_context(repository("tiny"))
        write_models(root)
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(fastserve(root, CACHE))
        echo = tiny.grpc_message(replace(tiny.MODEL, name="echo"))
        (directory / "cached").mkdir()
        (directory / "echo").mkdir()
        url = f"http://127.0.0.1:{server.grpc}{tiny.INFER}"
        cached_body = tiny.grpc_file(directory / "cached")
        echo_body = tiny.grpc_file(directory / "echo", echo)
        # One checked second first: h2load does not look at grpc-status.
        cached_one = grpc_options(server.grpc, tiny.INFER, tiny.grpc_message(), 1)
        echo_one = grpc_options(server.grpc, tiny.INFER, echo, 1)
        for one in (cached_one, echo_one):
            own_loop(one, 0.5)
        rates = alternate(
            options.rounds,
            lambda: h2load(url, options.seconds, CALLERS, cached_body),
            lambda: h2load(url, options.seconds, CALLERS, echo_body),
        )
        report.compare(f"{CALLERS} callers", *rates, "requests/s", ">= 0.9")
        latencies = alternate(
            options.rounds,
            lambda: own_loop(cached_one, options.seconds).p50_us,
            lambda: own_loop(echo_one, options.seconds).p50_us,
        )
        report.compare("one caller, p50", *latencies, "us")
    finish(report, options)


if __name__ == "__main__":
    main()
