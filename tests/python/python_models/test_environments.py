"""Python models in environments of their own, and backends that are a model.py."""

import os
import shutil
import tarfile
import venv
from pathlib import Path

import numpy as np
import pytest

from tests.python.python_models.conftest import grpc_of, infer
from tests.python.python_models.models import IDENTITY, answering, config

VERSION = answering(
    "np.full_like(x, 100 * __import__('sys').version_info[0] + __import__('sys').version_info[1])"
)
PREFIX = answering("np.array([[__import__('sys').prefix.encode()]], np.object_)")
WITH_ENVIRONMENT = 'parameters {{ key: "EXECUTION_ENV_PATH" value: {{ string_value: "{}" }} }}\n'


def row(value: float) -> np.ndarray:
    return np.array([[value]], np.float32)


def make_environment(folder: Path) -> Path:
    """A virtual environment that has numpy and nothing of ours."""
    venv.create(folder, symlinks=True, with_pip=False)
    (site,) = folder.glob("lib/python*/site-packages")
    source = Path(np.__file__).parent
    shutil.copytree(source, site / "numpy", symlinks=True)
    libraries = source.parent / "numpy.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, site / "numpy.libs")
    return folder


def other_environments() -> list[Path]:
    """What `make setup` made of this machine's other CPythons, oldest first."""
    made = Path(__file__).resolve().parents[3] / ".cache/pythons"
    return sorted(made.glob("3.*"), key=lambda folder: int(folder.name.partition(".")[2]))


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Path:
    return make_environment(tmp_path_factory.mktemp("environment") / "env")


def test_an_archive_is_unpacked_and_used(serve, environment, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    text = config("STRING", more=WITH_ENVIRONMENT.format("$$TRITON_MODEL_DIRECTORY/env.tar.gz"))
    text = text.replace("STRING", "FP32", 1)
    folder = tmp_path / "models" / "packed"
    folder.mkdir(parents=True)
    with tarfile.open(folder / "env.tar.gz", "w:gz") as archive:
        archive.add(environment, ".")
    server = serve({"packed": (text, PREFIX)})
    prefix = infer(grpc_of(server), "packed", row(1)).as_numpy("OUTPUT0")[0, 0].decode()
    assert Path(prefix).is_relative_to(tmp_path / "cache")


def test_a_folder_is_used_as_it_is(serve, environment):
    text = config("STRING", more=WITH_ENVIRONMENT.format(environment)).replace("STRING", "FP32", 1)
    server = serve({"unpacked": (text, PREFIX), "usual": (config(), IDENTITY)})
    prefix = infer(grpc_of(server), "unpacked", row(1)).as_numpy("OUTPUT0")[0, 0].decode()
    assert prefix == str(environment)


@pytest.mark.parametrize("which", [0, -1], ids=["oldest", "newest"])
def test_another_python_runs_the_model(serve, which):
    environments = other_environments()
    if not environments:
        pytest.skip("this machine has no other Python to which numpy can be installed")
    text = config(more=WITH_ENVIRONMENT.format(environments[which]))
    server = serve({"other": (text, VERSION)})
    version = int(infer(grpc_of(server), "other", row(1)).as_numpy("OUTPUT0")[0, 0])
    assert version == 300 + int(environments[which].name.partition(".")[2])


def test_a_backend_may_be_a_model_py(serve, tmp_path):
    backend = tmp_path / "backends" / "tripling"
    backend.mkdir(parents=True)
    (backend / "model.py").write_text(answering("x * 3"))
    text = config().replace('backend: "python"', 'backend: "tripling"')
    server = serve({"m": (text, "")}, f"--backend-directory={tmp_path / 'backends'}")
    assert infer(grpc_of(server), "m", row(2)).as_numpy("OUTPUT0").tolist() == [[6]]
    assert os.listdir(tmp_path / "models" / "m" / "1") == []
