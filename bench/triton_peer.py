"""fastserve against a real Triton: its Python identity model over gRPC.

Triton is not part of this project: give the command that starts it on a model repository,
`--triton "COMMAND"`, called as COMMAND REPOSITORY HTTP_PORT GRPC_PORT METRICS_PORT, and the one
of perf_analyzer, `--perf-analyzer "COMMAND"`. Without them this script does nothing.
"""

import re
import shlex
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import tiny
from clients import grpc_options, h2load, own_loop
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
    repository,
    wait_until,
)

CALLERS = 64
SERVICE = "/inference.GRPCInferenceService/"
CONFIG = """name: "tiny"
backend: "python"
max_batch_size: 64
input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [ 16 ] } ]
output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ 16 ] } ]
"""
MODEL = """import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        inputs = [pb_utils.get_input_tensor_by_name(request, "INPUT0") for request in requests]
        tensors = [pb_utils.Tensor("OUTPUT0", tensor.as_numpy()) for tensor in inputs]
        return [pb_utils.InferenceResponse([tensor]) for tensor in tensors]
"""


def start_triton(command: str, stack: ExitStack) -> Server:
    root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    (root / "tiny" / "1").mkdir(parents=True)
    (root / "tiny" / "config.pbtxt").write_text(CONFIG)
    (root / "tiny" / "1" / "model.py").write_text(MODEL)
    server = Server(0, free_port(), free_port(), free_port())
    ports = [str(port) for port in (server.http, server.grpc, server.metrics)]
    running = stack.enter_context(process([*shlex.split(command), str(root), *ports]))
    ready = f"http://127.0.0.1:{server.http}/v2/health/ready"
    wait_until(lambda: answers(ready), "Triton", running)
    return server


def perf_analyzer(command: str, port: int, callers: int, seconds: float) -> tuple[float, float]:
    """(inferences a second, p50 in microseconds)."""
    words = [*shlex.split(command), "-m", "tiny", "-i", "grpc", "-u", f"127.0.0.1:{port}"]
    words += ["--concurrency-range", str(callers), "--percentile=50", "-s", "90"]
    words += ["-p", str(max(1000, round(seconds * 1000 / 3)))]  # it reports three windows
    # Its asynchronous mode looks for its own request id in the answers: canned ones have none.
    words.append("--sync")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    rate = re.search(r"Throughput: ([\d.]+) infer/sec", done.stdout)
    p50 = re.search(r"p50 latency: (\d+) usec", done.stdout)
    if rate is None or p50 is None:
        sys.exit(f"perf_analyzer measured nothing:\n{done.stdout}{done.stderr}")
    return float(rate[1]), float(p50[1])


def canned_server(port: int) -> object:
    """A server that answers with the bytes that fastserve answers with."""
    from fastserve import _core
    from fastserve.tools.perf import wire

    named = wire.length_field(1, "tiny")
    asked = {"ModelMetadata": named, "ModelConfig": named, "ModelReady": named}
    asked |= {"ServerLive": b"", "ServerReady": b"", "ModelInfer": tiny.grpc_message()}
    # Without extensions: perf_analyzer would take statistics that never change for an error.
    replies = {SERVICE + "ServerMetadata": wire.length_field(1, "canned")}
    for method, message in asked.items():
        options = grpc_options(port, SERVICE + method, message, 1)
        options.request_timeout_s = 10
        code, reason, answer = _core.grpc_call(options)
        if code != 0:
            sys.exit(f"{method} answers {code}: {reason}")
        replies[SERVICE + method] = answer
    return _core.CannedGrpcServer.start(replies)


def compare_triton(
    report: Report, options: object, servers: tuple[Server, Server], body: Path
) -> None:
    """Rates at 64 callers and p50 of one, of both servers."""
    urls = [f"http://127.0.0.1:{server.grpc}{tiny.INFER}" for server in servers]
    rates = alternate(
        options.rounds, *(lambda u=u: h2load(u, options.seconds, CALLERS, body) for u in urls)
    )
    report.compare(f"Triton, {CALLERS} callers, h2load", *rates, "requests/s", ">= 4")
    if options.perf_analyzer:
        latencies = alternate(
            options.rounds,
            *(
                lambda s=s: perf_analyzer(options.perf_analyzer, s.grpc, 1, options.seconds)[1]
                for s in servers
            ),
        )
        report.compare("Triton, one caller, p50, perf_analyzer", *latencies, "us", "<= 0.4")
    loops = [grpc_options(s.grpc, tiny.INFER, tiny.grpc_message(), 1) for s in servers]
    latencies = alternate(
        options.rounds, *(lambda o=o: own_loop(o, options.seconds).p50_us for o in loops)
    )
    report.compare("Triton, one caller, p50, fastserve perf", *latencies, "us")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--triton", help="command that starts Triton")
    parser.add_argument("--perf-analyzer", help="command of perf_analyzer")
    options = parse(parser)
    if not options.triton and not options.perf_analyzer:
        print("triton_peer: neither --triton nor --perf-analyzer given: nothing to compare with")
        return
    report = Report(
        "triton_peer",
        "Tiny model over gRPC against Triton's Python identity",
        f"{cores()}; median of {options.rounds} alternating rounds of {options.seconds:g} s.",
    )
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(fastserve(stack.enter_context(repository("tiny"))))
        if options.triton:
            triton = start_triton(options.triton, stack)
            compare_triton(report, options, (server, triton), tiny.grpc_file(directory))
        if options.perf_analyzer:
            canned = canned_server(server.grpc)
            rates = alternate(
                options.rounds,
                *(
                    lambda p=p: perf_analyzer(options.perf_analyzer, p, CALLERS, options.seconds)[0]
                    for p in (server.grpc, canned.port)
                ),
            )
            what = f"canned bytes, {CALLERS} callers, perf_analyzer"
            report.compare(what, *rates, "requests/s", ">= 0.8")
    finish(report, options)


if __name__ == "__main__":
    main()
