"""A server with models written in Python, and the official clients of it."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
import tritonclient.http as httpclient

from tests.python.conftest import ServerProcess
from tests.python.python_models.models import MODELS, write_python_model


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """All models of models.py, in explicit mode."""
    repository = tmp_path_factory.mktemp("models")
    for name, (config, code) in MODELS.items():
        write_python_model(repository, name, config, code)
    process = ServerProcess(
        [f"--model-repository={repository}", "--model-control-mode=explicit", "--load-model=*"]
    )
    try:
        yield process.wait_started()
        assert process.stop() == 0
    finally:
        process.kill()


@pytest.fixture
def http(server: ServerProcess) -> Iterator[httpclient.InferenceServerClient]:
    with httpclient.InferenceServerClient(server.url("http"), concurrency=8) as client:
        yield client


@pytest.fixture
def grpc(server: ServerProcess) -> Iterator[grpcclient.InferenceServerClient]:
    with grpcclient.InferenceServerClient(server.url("grpc")) as client:
        yield client


@pytest.fixture(params=["http", "grpc"])
def protocol(request: pytest.FixtureRequest) -> tuple:
    """(client module, client): the test runs once per protocol."""
    module = httpclient if request.param == "http" else grpcclient
    return module, request.getfixturevalue(request.param)


@pytest.fixture
def serve(start_server, tmp_path) -> Callable[..., ServerProcess]:
    """Starts a server of its own on models {name: (config, code)}."""

    def start(models: dict[str, tuple[str, str]], *flags: str) -> ServerProcess:
        for name, (config, code) in models.items():
            write_python_model(tmp_path / "models", name, config, code)
        return start_server(f"--model-repository={tmp_path / 'models'}", *flags).wait_started()

    return start


def infer(protocol: tuple, model: str, values: np.ndarray, **more: object):
    """The answer of a model with INPUT0 and OUTPUT0."""
    module, client = protocol
    names = {"float32": "FP32", "int32": "INT32", "object": "BYTES"}
    tensor = module.InferInput("INPUT0", list(values.shape), names[str(values.dtype)])
    tensor.set_data_from_numpy(values)
    return client.infer(model, [tensor], **more)


def grpc_of(server: ServerProcess) -> tuple:
    return grpcclient, grpcclient.InferenceServerClient(server.url("grpc"))


def eventually(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)


def worker_pids(server: ServerProcess) -> list[int]:
    """The server's child processes."""
    pids: list[int] = []
    for task in Path(f"/proc/{server.process.pid}/task").iterdir():
        try:
            pids += map(int, (task / "children").read_text().split())
        except OSError:  # a thread that just ended
            continue
    return pids
