"""Writes synthetic models as a model repository, and as the plain files of the C++ tests."""

from collections.abc import Iterable
from pathlib import Path

from tests.models import graphs
from tests.models.catalog import MODELS, model_bytes

# What the model file cannot say. Models that are not here are served without a config.pbtxt.
_CONFIGS: dict[str, str] = {
    "classifier": """backend: "onnxruntime"
max_batch_size: 8
input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ 4 ] label_filename: "labels.txt" } ]
""",
    "nonzero": 'backend: "onnxruntime"\nmax_batch_size: 0\n',
}
_LABELS: dict[str, list[str]] = {"classifier": ["cat", "dog", "fish", "bird"]}

# The files under tests/models/data: everything small enough to be checked in.
_DATA_LIMIT_BYTES = 2048


def write_repository(directory: Path | str, names: Iterable[str], version: int = 1) -> Path:
    """Lays out DIRECTORY/NAME/VERSION/model.onnx, with config.pbtxt and labels where needed."""
    root = Path(directory)
    for name in names:
        version_directory = root / name / str(version)
        version_directory.mkdir(parents=True, exist_ok=True)
        (version_directory / "model.onnx").write_bytes(model_bytes(name))
        if name in _CONFIGS:
            (root / name / "config.pbtxt").write_text(f'name: "{name}"\n{_CONFIGS[name]}')
        if name in _LABELS:
            (root / name / "labels.txt").write_text("\n".join(_LABELS[name]) + "\n")
    return root


def write_data(directory: Path | str) -> list[str]:
    """Writes DIRECTORY/NAME.onnx for every model small enough to check in; returns their names."""
    root = Path(directory)
    root.mkdir(parents=True, exist_ok=True)
    written = []
    for name in sorted(MODELS):
        content = model_bytes(name)
        if len(content) <= _DATA_LIMIT_BYTES:
            (root / f"{name}.onnx").write_bytes(content)
            written.append(name)
    write_external(root / "external")
    return written


def write_external(directory: Path | str) -> None:
    """Writes DIRECTORY/model.onnx and the file with its weights."""
    root = Path(directory)
    root.mkdir(parents=True, exist_ok=True)
    (root / "model.onnx").write_bytes(graphs.external().SerializeToString())
    (root / "weights.bin").write_bytes(graphs.EXTERNAL_WEIGHTS)
