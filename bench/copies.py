"""A 16 MB input tensor: the bytes copied in user space, and how long a call takes.

Copied bytes are the server's own counter nv_fastserve_copied_bytes_total over the input's bytes.
The model has no output to speak of, so that the figure is the way in.
"""

import re
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from clients import grpc_options, http_options, own_loop
from harness import Report, Server, arguments, cores, fastserve, finish, parse
from tiny import INFER

# isort: split
from fastserve import _core
from fastserve.tools.perf import payload
from fastserve.tools.perf.model import ModelUnderLoad, Target
from fastserve.tools.perf.tensors import TensorData

ELEMENTS = 4 * 1024 * 1024
INPUT_BYTES = 4 * ELEMENTS
CALLS = 10
BATCH_OF_ONE = 1.01  # the tensor once, and the little that is around it
CONFIG = """backend: "onnxruntime"
max_batch_size: {batch}
{scheduling}
"""
COUNTER = re.compile(r"^nv_fastserve_copied_bytes_total(?:\{.*\})? (\S+)$", re.MULTILINE)


def write_repository(root: Path) -> Path:
    import onnx
    from onnx import TensorProto, helper

    node = helper.make_node("ReduceMax", ["INPUT0"], ["OUTPUT0"], axes=[1], keepdims=1)
    graph = helper.make_graph(
        [node],
        "large",
        [helper.make_tensor_value_info("INPUT0", TensorProto.FLOAT, ["batch", ELEMENTS])],
        [helper.make_tensor_value_info("OUTPUT0", TensorProto.FLOAT, ["batch", 1])],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, ir_version=10, opset_imports=opset)
    for name, scheduling in (("single", ""), ("batched", "dynamic_batching { }")):
        (root / name / "1").mkdir(parents=True)
        onnx.save(model, root / name / "1" / "model.onnx")
        config = CONFIG.format(batch=2, scheduling=scheduling)
        (root / name / "config.pbtxt").write_text(config)
    return root


def copied_bytes(server: Server) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics}/metrics") as page:
        found = COUNTER.search(page.read().decode())
    if found is None:
        raise SystemExit("the metrics page has no nv_fastserve_copied_bytes_total")
    return float(found[1])


def options_of(protocol: str, server: Server, model: str, callers: int) -> Any:
    spec = ModelUnderLoad(model, "", (), (), 2)
    tensor = TensorData("INPUT0", "FP32", (1, ELEMENTS), bytes(INPUT_BYTES))
    if protocol == "gRPC":
        return grpc_options(server.grpc, INFER, payload.grpc_message(spec, [tensor]), callers)
    target = Target("http", "127.0.0.1", str(server.http), "", ())
    body, json_size = payload.http_body([tensor], json_input=False, json_output=False)
    return http_options(server.http, payload.http_request(target, spec, body, json_size), callers)


def copies_per_input(server: Server, options: Any, input_bytes: int = INPUT_BYTES) -> float:
    """Copied bytes to each byte of input, over some calls."""
    before = copied_bytes(server)
    options.max_requests = CALLS
    generator = _core.LoadGenerator.start(options)
    while not generator.finished:
        time.sleep(0.01)
    done = generator.snapshot()
    if done.completed != CALLS:
        raise SystemExit(f"requests failed: {generator.errors()}")
    options.max_requests = 0
    return (copied_bytes(server) - before) / (CALLS * input_bytes)


def main() -> None:
    options = parse(arguments(__doc__))
    report = Report(
        "copies",
        "A 16 MB input tensor",
        f"{cores()}; copied bytes to each input byte by the server's counter, against the copies "
        "allowed; latency of one caller.",
    )
    with ExitStack() as stack:
        root = Path(stack.enter_context(TemporaryDirectory()))
        server = stack.enter_context(fastserve(write_repository(root)))
        for protocol in ("HTTP", "gRPC"):
            one = options_of(protocol, server, "single", 1)
            alone = copies_per_input(server, one)
            report.single(f"{protocol}, batch of one, copies", alone, BATCH_OF_ONE, "times")
            two = options_of(protocol, server, "batched", 4)
            batched = copies_per_input(server, two)
            report.single(
                f"{protocol}, 4 callers, batches of up to two, copies", batched, 2, "times"
            )
            measured = own_loop(one, options.seconds)
            report.notes.append(
                f"{protocol}, one caller: p50 {measured.p50_us / 1000:.1f} ms, "
                f"{measured.rate * INPUT_BYTES / 1e6:.0f} MB/s."
            )
    finish(report, options)


if __name__ == "__main__":
    main()
