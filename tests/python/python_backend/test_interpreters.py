"""The worker in other versions of Python than the tests', as far as this machine has them."""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.python.python_backend.conftest import write_python_model
from tests.python.python_backend.worker_peer import Request

ROOT = Path(__file__).resolve().parents[3]
VERSIONS = [(3, minor) for minor in range(8, 15) if (3, minor) != sys.version_info[:2]]

MODEL = """
class TritonPythonModel:
    def execute(self, requests):
        out = []
        for r in requests:
            numbers = pb_utils.Tensor.from_dlpack("NUMBERS", r.inputs()[0])
            strings = pb_utils.Tensor("STRINGS", r.inputs()[1].as_numpy()[::-1])
            out.append(pb_utils.InferenceResponse([numbers, strings]))
        return out
"""
STREAM = """
class TritonPythonModel:
    async def execute(self, requests):
        for r in requests:
            other = pb_utils.InferenceRequest(model_name="other", inputs=r.inputs())
            sender = r.get_response_sender()
            sender.send(await other.async_exec())
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
    async def is_ready(self):
        return True
"""


def _candidates(version: str) -> list[str]:
    """Interpreters by that name: of FASTSERVE_TEST_PYTHONS, of `make setup`, on PATH."""
    named = os.environ.get("FASTSERVE_TEST_PYTHONS", "").split(os.pathsep)
    made = ROOT / ".cache/pythons" / version / "bin/python"
    found = shutil.which(f"python{version}")
    return [path for path in [*named, str(made), found or ""] if path]


@cache
def _interpreter(version: str) -> str | None:
    """One of that version that has numpy."""
    check = f"import sys, numpy; assert '%d.%d' % sys.version_info[:2] == '{version}'"
    for path in _candidates(version):
        if not Path(path).is_file():
            continue
        if subprocess.run([path, "-c", check], capture_output=True, check=False).returncode == 0:
            return path
    return None


@pytest.fixture(params=[f"{major}.{minor}" for major, minor in VERSIONS])
def start(request, tmp_path, new_peer, monkeypatch):
    python = _interpreter(request.param)
    if python is None:
        pytest.skip(f"no Python {request.param} with numpy here")
    monkeypatch.delenv("PYTHONPATH", raising=False)

    def begin(source: str, decoupled: bool = False):
        peer = new_peer(python)
        config = {"model_transaction_policy": {"decoupled": decoupled}}
        assert peer.initialize(write_python_model(tmp_path, source), config)["error"] is None
        return peer

    return begin


def test_tensors_and_strings_pass(start):
    peer = start(MODEL)
    numbers = np.arange(6, dtype=np.float32).reshape(2, 3)
    strings = np.array([b"", b"\xff\0", "é".encode()], object)
    for answer in peer.execute(*[Request({"N": numbers, "S": strings}) for _ in range(3)]):
        assert answer["NUMBERS"].tolist() == numbers.tolist()
        assert answer["STRINGS"].tolist() == strings[::-1].tolist()
    assert peer.finalize() == 0


def test_coroutines_senders_and_requests_work(start):
    peer = start(STREAM, True)
    assert peer.check_ready() == (True, "")
    peer.start([Request({"IN": np.ones(3)})])
    call = peer.bls_request()
    peer.bls_respond(call.call, {"OUT": call.request.inputs["IN"] * 2})
    assert peer.response()["OUT"].tolist() == [2, 2, 2]
    assert peer.response().flags == 1
    assert peer.finalize() == 0


def test_an_exception_is_told(start):
    peer = start("class TritonPythonModel:\n    def execute(self, requests): raise ValueError('x')")
    (answer,) = peer.execute(Request())
    assert "ValueError: x\n\nAt:\n  " in answer.message
