"""Tries a wheel where nothing else is: installs it with its `onnx` extra into an empty virtual
environment, starts the server on a small ONNX model and a Python model that calls it, and sends
requests with the official client.

Usage: smoke.py WHEEL
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from pathlib import Path

CLIENT = """
import sys
import numpy as np, tritonclient.http as http, tritonclient.grpc as grpc
assert "site-packages" in __import__("fastserve._core")._core.__file__
for module, url in ((http, sys.argv[1]), (grpc, sys.argv[2])):
    client = module.InferenceServerClient(url)
    x = module.InferInput("INPUT", [2, 16], "FP32")
    x.set_data_from_numpy(np.arange(32, dtype=np.float32).reshape(2, 16))
    for model, factor in (("twice", 2), ("four_times", 4)):
        y = client.infer(model, [x]).as_numpy("OUTPUT")
        assert (y == factor * np.arange(32).reshape(2, 16)).all(), (model, y)
    client.close()
"""
"""Run inside the new environment, where the checkout is not importable."""


PYTHON_CONFIG = """
backend: "python"
max_batch_size: 8
input [ { name: "INPUT" data_type: TYPE_FP32 dims: [ 16 ] } ]
output [ { name: "OUTPUT" data_type: TYPE_FP32 dims: [ 16 ] } ]
"""
PYTHON_MODEL = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        given = pb_utils.get_input_tensor_by_name(request, "INPUT")
        call = pb_utils.InferenceRequest(
            model_name="twice", inputs=[given], requested_output_names=["OUTPUT"])
        twice = pb_utils.get_output_tensor_by_name(call.exec(), "OUTPUT").as_numpy()
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT", 2 * twice)])
"""


def write_python_model(repository: Path) -> None:
    (repository / "four_times/1").mkdir(parents=True)
    (repository / "four_times/config.pbtxt").write_text(PYTHON_CONFIG)
    (repository / "four_times/1/model.py").write_text(PYTHON_MODEL)


def write_onnx_model(repository: Path) -> None:
    from onnx import TensorProto, checker, helper, save

    graph = helper.make_graph(
        [helper.make_node("Add", ["INPUT", "INPUT"], ["OUTPUT"])],
        "twice",
        [helper.make_tensor_value_info("INPUT", TensorProto.FLOAT, [None, 16])],
        [helper.make_tensor_value_info("OUTPUT", TensorProto.FLOAT, [None, 16])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    checker.check_model(model)
    (repository / "twice/1").mkdir(parents=True)
    save(model, str(repository / "twice/1/model.onnx"))


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


def start_server(python: Path, repository: Path, ports: list[int]) -> subprocess.Popen[bytes]:
    names = ("http", "grpc", "metrics")
    flags = [f"--{name}-port={port}" for name, port in zip(names, ports, strict=True)]
    addresses = [f"--{name}-address=127.0.0.1" for name in names]
    command = [str(python), "-m", "fastserve", f"--model-repository={repository}"]
    return subprocess.Popen([*command, *flags, *addresses], cwd=repository)


def wait_until_listening(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=5).close()
            return
        except OSError:
            if server.poll() is not None or time.monotonic() > deadline:
                sys.exit("the server did not become ready")
            time.sleep(0.05)


def main() -> int:
    wheel = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_onnx_model(root / "models")
        write_python_model(root / "models")
        venv.create(root / "venv", with_pip=True)
        python = root / "venv/bin/python"
        install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*install, f"{wheel}[onnx]", "tritonclient[grpc,http]"], check=True)
        ports = free_ports(3)
        server = start_server(python, root / "models", ports)
        try:
            wait_until_listening(server, ports[0])
            urls = [f"127.0.0.1:{port}" for port in ports[:2]]
            subprocess.run([str(python), "-c", CLIENT, *urls], check=True, cwd=root)
            server.send_signal(signal.SIGTERM)
            status = server.wait(timeout=30)
        finally:
            server.kill()
    print(f"{wheel.name}: serves over HTTP and gRPC in an empty environment")
    return status


if __name__ == "__main__":
    sys.exit(main())
