"""Which backend runs a model: from `backend`, `platform`, `default_model_filename`, or the file in
a version directory.
"""

from pathlib import Path

from fastserve.config.ensemble import is_ensemble, resolve_ensemble
from fastserve.config.parse import ModelConfig
from fastserve.config.python_models import find_python_backend
from fastserve.errors import InvalidArgumentError, UnsupportedError

ONNX_PLATFORM = "onnxruntime_onnx"
ONNX_FILE = "model.onnx"
OFFERED = ("onnxruntime", "python", "identity", "repeat")
# Those whose models are their configuration.
WITHOUT_FILE = ("identity", "repeat")
# Those that answer each request exactly once.
ANSWER_ONCE = ("onnxruntime", "identity")

_PLATFORM_BACKENDS = {
    ONNX_PLATFORM: "onnxruntime",
    "tensorrt_plan": "tensorrt",
    "pytorch_libtorch": "pytorch",
    "tensorflow_savedmodel": "tensorflow",
    "tensorflow_graphdef": "tensorflow",
}
_FILE_BACKENDS = {
    ONNX_FILE: "onnxruntime",
    "model.plan": "tensorrt",
    "model.pt": "pytorch",
    "model.py": "python",
    "model.savedmodel": "tensorflow",
    "model.graphdef": "tensorflow",
    "model.xml": "openvino",
}
_KNOWN_LATER = (
    "tensorrt",
    "pytorch",
    "tensorflow",
    "openvino",
    "dali",
    "fil",
    "vllm",
)


def _from_files(version_directory: Path | None) -> str:
    """The backend of the first well-known file in the directory; the only *.onnx file counts as
    one.
    """
    if version_directory is None:
        return ""
    names = {entry.name for entry in version_directory.iterdir()}
    for name, backend in _FILE_BACKENDS.items():
        if name in names:
            return backend
    return "onnxruntime" if len([name for name in names if name.endswith(".onnx")]) == 1 else ""


def _onnx_file(version_directory: Path | None) -> str:
    """model.onnx, or the only *.onnx file when there is no model.onnx."""
    if version_directory is not None and not (version_directory / ONNX_FILE).exists():
        names = [
            entry.name for entry in version_directory.iterdir() if entry.name.endswith(".onnx")
        ]
        if len(names) == 1:
            return names[0]
    return ONNX_FILE


def resolve_backend(
    config: ModelConfig, version_directory: Path | None, backend_directory: str = ""
) -> None:
    """Fills backend, platform and default_model_filename.

    A backend that is a model.py in a folder of `backend_directory` is offered, too.

    InvalidArgumentError when they disagree or nothing tells; UnsupportedError for a backend that is
    not offered.
    """
    if is_ensemble(config):
        resolve_ensemble(config)
        return
    if not config.backend:
        config.backend = _find_backend(config, version_directory)
    _check_offered(config, backend_directory)
    expected = ONNX_PLATFORM if config.backend == "onnxruntime" else ""
    if config.platform and config.platform != expected:
        remedy = "remove platform" + (f", or write platform: '{expected}'" if expected else "")
        raise InvalidArgumentError(
            f"unexpected 'platform' and 'backend' pair, got:{config.platform}, {config.backend} "
            f"for {config.name}; {remedy}"
        )
    config.platform = expected
    if config.backend == "onnxruntime" and not config.default_model_filename:
        config.default_model_filename = _onnx_file(version_directory)


def _find_backend(config: ModelConfig, version_directory: Path | None) -> str:
    if config.platform:
        backend = _PLATFORM_BACKENDS.get(config.platform, "")
    elif config.default_model_filename:
        backend = _FILE_BACKENDS.get(config.default_model_filename, "")
    else:
        backend = _from_files(version_directory)
    if not backend:
        _refuse_unresolved(config)
    return backend


def _check_offered(config: ModelConfig, backend_directory: str) -> None:
    if find_python_backend(config.backend, backend_directory) is not None:
        return
    offered = ", ".join(OFFERED)
    if config.backend in _KNOWN_LATER:
        by_platform = f"platform '{config.platform}'"
        field = by_platform if config.platform else f"backend '{config.backend}'"
        raise UnsupportedError(
            f"model '{config.name}': {field} is not offered yet; offered backends are {offered}"
        )
    if config.backend not in OFFERED:
        raise InvalidArgumentError(
            f"unable to find backend '{config.backend}' for model '{config.name}'; "
            f"write one of: {offered}; or put its model.py into "
            f"{Path(backend_directory) / config.backend}"
        )


def _refuse_unresolved(config: ModelConfig) -> None:
    if config.platform:
        raise InvalidArgumentError(
            f"unexpected platform type '{config.platform}' for {config.name}; write backend: "
            '"onnxruntime"'
        )
    raise InvalidArgumentError(
        f"Invalid model name: Could not determine backend for model '{config.name}' with no "
        "backend in model "
        f'configuration. Write backend: "onnxruntime" in its config.pbtxt, or put {ONNX_FILE} in '
        "a version directory."
    )
