"""Python models in worker processes, against a real Triton that serves the same model.py.

Identity over tiny tensors, 4 MB tensors and a million short strings; what a busy Python model costs
an ONNX model beside it. Triton is not part of this project: see triton_peer.py for --triton.
Without it only the figures that need no peer are taken.
"""

import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tiny
from clients import Loop, grpc_options, h2load, http_options, own_loop
from copies import copies_per_input
from harness import (
    Report,
    Server,
    alternate,
    answers,
    arguments,
    cores,
    fastserve,
    finish,
    free_port,
    parse,
    process,
    wait_until,
)

# isort: split
from fastserve.tools.perf import payload
from fastserve.tools.perf.model import ModelUnderLoad, Target
from fastserve.tools.perf.tensors import TensorData

from tests.models.repository import write_repository

CALLERS = 64
LARGE = 1024 * 1024  # FP32 elements: 4 MB
STRINGS = 1_000_000
# One copy into the request, one into the batch; none on the way out.
COPIES = 2.01
CONFIG = """backend: "python"
max_batch_size: {batch}
input [ {{ name: "INPUT0" data_type: TYPE_{type} dims: [ {dims} ] }} ]
output [ {{ name: "OUTPUT0" data_type: TYPE_{type} dims: [ {dims} ] }} ]
"""
IDENTITY = """import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        inputs = [pb_utils.get_input_tensor_by_name(request, "INPUT0") for request in requests]
        tensors = [pb_utils.Tensor("OUTPUT0", tensor.as_numpy()) for tensor in inputs]
        return [pb_utils.InferenceResponse([tensor]) for tensor in tensors]
"""
BUSY = IDENTITY.replace(
    "        inputs =", "        sum(number * number for number in range(20_000))\n        inputs ="
)
# What the busy model burns, in a process that has nothing to do with the server.
BURN = "while True: sum(number * number for number in range(20_000))"
MODELS = {
    "tiny_python": (CONFIG.format(batch=64, type="FP32", dims=16), IDENTITY),
    "batched_python": (
        CONFIG.format(batch=64, type="FP32", dims=16) + "dynamic_batching { }\n",
        IDENTITY,
    ),
    "large": (CONFIG.format(batch=0, type="FP32", dims=-1), IDENTITY),
    "strings": (CONFIG.format(batch=0, type="STRING", dims=-1), IDENTITY),
    "busy": (CONFIG.format(batch=64, type="FP32", dims=16), BUSY),
}


def write_models(root: Path) -> Path:
    for name, (config, code) in MODELS.items():
        (root / name / "1").mkdir(parents=True)
        (root / name / "config.pbtxt").write_text(config)
        (root / name / "1" / "model.py").write_text(code)
    return root


@contextmanager
def triton(command: str, root: Path) -> Iterator[Server]:
    server = Server(0, free_port(), free_port(), free_port())
    ports = [str(port) for port in (server.http, server.grpc, server.metrics)]
    with process([*shlex.split(command), str(root), *ports]) as running:
        ready = f"http://127.0.0.1:{server.http}/v2/health/ready"
        wait_until(lambda: answers(ready), "Triton", running)
        yield server


def under_load(model: str) -> ModelUnderLoad:
    return ModelUnderLoad(model, "", (), ("OUTPUT0",), 0)


def message(model: str, tensor: TensorData) -> bytes:
    return payload.grpc_message(under_load(model), [tensor])


def large_tensor() -> TensorData:
    return TensorData("INPUT0", "FP32", (LARGE,), bytes(4 * LARGE))


def strings_message() -> bytes:
    words = b"".join(
        len(word).to_bytes(4, "little") + word
        for word in (b"w%d" % (number % 1000) for number in range(STRINGS))
    )
    return message("strings", TensorData("INPUT0", "BYTES", (STRINGS,), words))


def loop(server: Server, body: bytes, callers: int, seconds: float) -> Loop:
    return own_loop(grpc_options(server.grpc, tiny.INFER, body, callers), seconds)


def http_loop(server: Server, model: str, tensor: TensorData, seconds: float) -> Loop:
    """One caller who uses the binary tensor extension both ways."""
    target = Target("http", "127.0.0.1", str(server.http), "")
    body, json_size = payload.http_body([tensor], json_input=False, json_output=False)
    request = payload.http_request(target, under_load(model), body, json_size)
    return own_loop(http_options(server.http, request, 1), seconds)


def compare_with_triton(
    report: Report, options: Any, ours: Server, theirs: Server, directory: Path
) -> None:
    urls = [f"http://127.0.0.1:{server.grpc}{tiny.INFER}" for server in (ours, theirs)]
    batchings = {"tiny_python": "", "batched_python": ", dynamic_batching { }"}
    for model, batching in batchings.items():
        file = tiny.grpc_file(directory, message(model, tiny.TENSOR))
        rates = alternate(
            options.rounds,
            *(lambda u=u, f=file: h2load(u, options.seconds, CALLERS, f) for u in urls),
        )
        what = f"FP32 [1,16], {CALLERS} callers, h2load{batching}"
        report.compare(what, *rates, "requests/s", ">= 3")
    small = message("tiny_python", tiny.TENSOR)
    large = large_tensor()
    bodies = {
        "FP32 [1,16], one caller, p50": (small, "<= 0.5"),
        "4 MB in and out, one caller, p50": (message("large", large), "<= 0.4"),
        f"{STRINGS:,} strings in and out, one caller, p50": (strings_message(), "<= 0.333"),
    }
    for what, (body, target) in bodies.items():
        latencies = alternate(
            options.rounds,
            *(lambda s=s, b=body: loop(s, b, 1, options.seconds).p50_us for s in (ours, theirs)),
        )
        report.compare(what, *latencies, "us", target)
    latencies = alternate(
        options.rounds,
        *(lambda s=s: http_loop(s, "large", large, options.seconds).p50_us for s in (ours, theirs)),
    )
    report.compare("4 MB in and out over HTTP, one caller, p50", *latencies, "us", "<= 0.4")


def measure_copies(report: Report, server: Server) -> None:
    load = grpc_options(server.grpc, tiny.INFER, message("large", large_tensor()), 1)
    copies = copies_per_input(server, load, 4 * LARGE)
    report.single("4 MB in and out, bytes copied in the server", copies, COPIES, "times")


def measure_isolation(report: Report, options: Any, server: Server) -> None:
    """p99 of an ONNX model beside a busy Python model, and beside a process that burns the same."""
    onnx = tiny.grpc_message()

    def beside_model() -> float:
        load = grpc_options(server.grpc, tiny.INFER, message("busy", tiny.TENSOR), 1)
        from fastserve import _core

        busy = _core.LoadGenerator.start(load)
        try:
            return loop(server, onnx, 1, options.seconds).p99_us
        finally:
            busy.stop(5.0)

    def beside_process() -> float:
        burning = subprocess.Popen([sys.executable, "-c", BURN])
        try:
            return loop(server, onnx, 1, options.seconds).p99_us
        finally:
            burning.kill()
            burning.wait()

    latencies = alternate(options.rounds, beside_model, beside_process)
    report.compare("ONNX, one caller, p99, beside a busy Python model", *latencies, "us", "<= 1.2")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--triton", help="command that starts Triton")
    options = parse(parser)
    report = Report(
        "python_backend",
        "Python models against Triton's Python backend",
        f"{cores()}; the same model.py; gRPC, the sending loop of `fastserve perf` where no client "
        f"is named; median of {options.rounds} alternating rounds of {options.seconds:g} s.",
    )
    with ExitStack() as stack:
        root = write_models(Path(stack.enter_context(TemporaryDirectory())))
        write_repository(root, ["tiny"])
        ours = stack.enter_context(fastserve(root))
        measure_copies(report, ours)
        measure_isolation(report, options, ours)
        if options.triton:
            peer_root = write_models(Path(stack.enter_context(TemporaryDirectory())))
            theirs = stack.enter_context(triton(options.triton, peer_root))
            directory = Path(stack.enter_context(TemporaryDirectory()))
            compare_with_triton(report, options, ours, theirs, directory)
    finish(report, options)


if __name__ == "__main__":
    main()
