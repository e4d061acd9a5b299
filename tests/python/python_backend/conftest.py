"""Workers that run the model of a test."""

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.python.python_backend.worker_peer import WorkerPeer

HEADER = "import numpy as np\nimport triton_python_backend_utils as pb_utils\n\n"


def write_python_model(repository: Path, source: str, name: str = "model") -> Path:
    """REPOSITORY/NAME/1/model.py with the usual imports above `source`."""
    model = repository / name
    (model / "1").mkdir(parents=True, exist_ok=True)
    (model / "1/model.py").write_text(HEADER + textwrap.dedent(source))
    return model


@pytest.fixture
def new_peer() -> Iterator[Callable[..., WorkerPeer]]:
    """Starts workers; ends what is left of them with the test."""
    peers: list[WorkerPeer] = []

    def start(*arguments, **named) -> WorkerPeer:
        peers.append(WorkerPeer(*arguments, **named))
        return peers[-1]

    yield start
    for peer in peers:
        peer.close()


@pytest.fixture
def run_model(tmp_path: Path, new_peer) -> Callable[..., WorkerPeer]:
    """run_model(source, decoupled=False, **settings): a worker whose model is initialised."""

    def run(source: str, decoupled: bool = False, **settings) -> WorkerPeer:
        model = write_python_model(tmp_path, source)
        peer = new_peer()
        config = {"model_transaction_policy": {"decoupled": decoupled}}
        answer = peer.initialize(model, config, **settings)
        assert answer["error"] is None, answer["error"]
        return peer

    return run


@pytest.fixture
def run_execute(run_model) -> Callable[..., WorkerPeer]:
    """run_execute(body): a worker whose `execute(self, requests)` has that body."""

    def run(body: str, decoupled: bool = False, head: str = "def execute", **settings):
        lines = textwrap.indent(textwrap.dedent(body).strip(), " " * 8)
        source = f"class TritonPythonModel:\n    {head}(self, requests):\n{lines}\n"
        return run_model(source, decoupled, **settings)

    return run


@pytest.fixture(autouse=True)
def _no_server_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTSERVE_WORKER_PURE_PYTHON", raising=False)
