"""Writes synthetic models as a model repository, and as the plain files of the C++ tests."""

from collections.abc import Iterable
from pathlib import Path

from tests.models import graphs, ragged
from tests.models.catalog import CONTROL_TYPES, MODELS, model_bytes


def _controls_config(name: str) -> str:
    """The configuration of a `controls_<flag>_<id>` model: no input or output is written out."""
    _, flag, correlation_id = name.split("_")
    pair = "[ false, true ]" if flag == "bool" else "[ 0, 1 ]"
    lines = [
        f'{{ name: "{kind}" control [ {{ kind: CONTROL_SEQUENCE_{kind} {flag}_false_true: {pair} '
        "} ] }"
        for kind in ("START", "READY", "END")
    ]
    lines.append(
        '{ name: "CORRID" control [ { kind: CONTROL_SEQUENCE_CORRID '
        f"data_type: TYPE_{correlation_id.upper()} }} ] }}"
    )
    return (
        'backend: "onnxruntime"\nmax_batch_size: 4\n'
        "sequence_batching {\n  direct { }\n  control_input [ " + ", ".join(lines) + " ]\n}\n"
    )


# What the model file cannot say. Models that are not here are served without a config.pbtxt.
_CONFIGS: dict[str, str] = {
    "classifier": """backend: "onnxruntime"
max_batch_size: 8
input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ 4 ] label_filename: "labels.txt" } ]
""",
    "nonzero": 'backend: "onnxruntime"\nmax_batch_size: 0\n',
    "accumulator": """backend: "onnxruntime"
max_batch_size: 4
sequence_batching {
  oldest { max_candidate_sequences: 8 }
  state [ { input_name: "SUM_IN" output_name: "SUM_OUT" data_type: TYPE_FP32 dims: [ 1 ] } ]
}
""",
    "history": """backend: "onnxruntime"
max_batch_size: 4
sequence_batching {
  oldest { max_candidate_sequences: 64 }
  state [ { input_name: "PAST" output_name: "PRESENT" data_type: TYPE_FP32 dims: [ -1 ]
            use_growable_memory: true use_same_buffer_for_input_output: true
            initial_state { name: "empty" data_type: TYPE_FP32 dims: [ 0 ] zero_data: true } } ]
}
""",
    "sentence": """backend: "onnxruntime"
max_batch_size: 4
sequence_batching {
  state [ { input_name: "PAST" output_name: "PRESENT" data_type: TYPE_STRING dims: [ -1 ]
            initial_state { name: "greeting" data_type: TYPE_STRING dims: [ 2 ]
                            data_file: "greeting" } } ]
}
""",
    **{name: _controls_config(name) for name in CONTROL_TYPES},
    **ragged.CONFIGS,
}
# Files of initial states: two strings, each behind its length.
_INITIAL_STATES: dict[str, dict[str, bytes]] = {
    "sentence": {"greeting": b"\x05\0\0\0hello\x00\0\0\0"}
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
        for file, content in _INITIAL_STATES.get(name, {}).items():
            (root / name / "initial_state").mkdir(exist_ok=True)
            (root / name / "initial_state" / file).write_bytes(content)
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
