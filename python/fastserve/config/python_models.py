"""Models that are Python code: `backend: "python"`, and backends that are themselves a model.py.

Source: Triton Python backend README, "Python-based backends" and "Using Custom Python Execution
Environments"; limits and paths in docs/python_backend.md.
"""

import ast
import json
import os
import sys
from pathlib import Path
from typing import Any

from fastserve.config.environment_archive import unpack_environment
from fastserve.config.parse import ModelConfig, config_to_dict, new_config
from fastserve.config.paths import inside_directory
from fastserve.errors import InvalidArgumentError

MODEL_FILE = "model.py"
ENVIRONMENT_PARAMETER = "EXECUTION_ENV_PATH"
MODEL_DIRECTORY_VARIABLE = "$$TRITON_MODEL_DIRECTORY"

_ARCHIVES = (
    ".tar.gz",
    ".tgz",
    ".tar",
    ".tar.bz2",
    ".tbz2",
    ".tar.xz",
    ".txz",
    ".tar.zst",
    ".zip",
)
_INTERPRETERS = ("bin/python3", "bin/python")
_LIMITS = {
    "EXECUTION_TIMEOUT_SECONDS": float,
    "MEMORY_LIMIT_BYTES": int,
    "MAX_REQUESTS_BEFORE_RESTART": int,
}
# What a backend's own folder may be shadowed by: the names of native backends.
_NATIVE = ("onnxruntime", "identity", "repeat", "ensemble")


def find_python_backend(name: str, backend_directory: str) -> Path | None:
    """The model.py of the Python-based backend `name`, or None."""
    if not (name and backend_directory) or name in _NATIVE or "/" in name or name in (".", ".."):
        return None
    path = Path(backend_directory) / name / MODEL_FILE
    return path if path.is_file() else None


def is_python_model(config: ModelConfig, backend_directory: str) -> bool:
    return (
        config.backend == "python"
        or find_python_backend(config.backend, backend_directory) is not None
    )


def python_model_file(
    config: ModelConfig, version: int, model_directory: Path, backend_directory: str
) -> Path:
    """The model.py that a worker runs. InvalidArgumentError when there is none."""
    if config.backend != "python":
        found = find_python_backend(config.backend, backend_directory)
        if found is not None:
            return found
    name = str(config.default_model_filename) or MODEL_FILE
    if name != MODEL_FILE:
        inside_directory(model_directory, f"{version}/{name}", "default_model_filename")
    path = model_directory / str(version) / name
    if not path.is_file():
        raise InvalidArgumentError(
            f"failed to find the model file {path} of model '{config.name}'; put it there, or "
            "write default_model_filename"
        )
    return path


def worker_spec(config: ModelConfig, version: int, model_directory: Path) -> dict[str, Any]:
    """What the specification of a Python model has besides. Unpacks an environment: blocks."""
    parameters = {key: value.string_value for key, value in config.parameters.items()}
    _check_limits(config.name, parameters)
    interpreter, environment = _interpreter(config.name, model_directory, parameters)
    return {
        "worker": {"interpreter": str(interpreter), "environment": environment},
        "config_json": json.dumps(config_to_dict(config)),
        "model_directory": str(model_directory),
        "version_directory": str(model_directory / str(version)),
    }


def _check_limits(name: str, parameters: dict[str, str]) -> None:
    for key, number in _LIMITS.items():
        text = parameters.get(key)
        if text is None:
            continue
        try:
            value = number(text)
        except ValueError:
            value = -1
        if not 0 <= value < 1 << 62:
            raise InvalidArgumentError(
                f"model '{name}': the parameter {key} is '{text}'; write a number of at least 0, "
                "0 for no limit"
            )


def _interpreter(
    name: str, model_directory: Path, parameters: dict[str, str]
) -> tuple[Path, dict[str, str]]:
    """The interpreter, and what it needs in its process environment."""
    text = parameters.get(ENVIRONMENT_PARAMETER, "")
    if not text:
        return Path(sys.executable), {}
    folder = _environment_folder(name, model_directory, text)
    for candidate in _INTERPRETERS:
        if os.access(folder / candidate, os.X_OK):
            return folder / candidate, _process_environment(folder)
    raise InvalidArgumentError(
        f"model '{name}': {ENVIRONMENT_PARAMETER} '{text}' has no executable bin/python3; write "
        "the path of a packed or unpacked environment"
    )


def _environment_folder(name: str, model_directory: Path, text: str) -> Path:
    """Relative paths, and those after $$TRITON_MODEL_DIRECTORY, stay inside the model's folder."""
    field = f"model '{name}': {ENVIRONMENT_PARAMETER}"
    if text.startswith(MODEL_DIRECTORY_VARIABLE):
        text = text[len(MODEL_DIRECTORY_VARIABLE) :].lstrip("/") or "."
    elif MODEL_DIRECTORY_VARIABLE in text:
        raise InvalidArgumentError(
            f"{field} '{text}' may only begin with {MODEL_DIRECTORY_VARIABLE}"
        )
    path = Path(text) if os.path.isabs(text) else inside_directory(model_directory, text, field)
    if path.is_dir():
        return path
    if not path.is_file():
        raise InvalidArgumentError(f"{field}: there is no file or folder {path}")
    if not path.name.endswith(_ARCHIVES):
        raise InvalidArgumentError(
            f"{field} '{path}' is no archive; write a folder or a file named "
            f"*{', *'.join(_ARCHIVES)}"
        )
    return unpack_environment(path)


def _process_environment(folder: Path) -> dict[str, str]:
    """What activating the environment would set."""
    path = f"{folder}/bin:{os.environ.get('PATH', os.defpath)}"
    if not (folder / "conda-meta").is_dir():
        return {"PATH": path, "VIRTUAL_ENV": str(folder)}
    libraries = os.environ.get("LD_LIBRARY_PATH", "")
    return {
        "PATH": path,
        "CONDA_PREFIX": str(folder),
        "LD_LIBRARY_PATH": f"{folder}/lib:{libraries}" if libraries else f"{folder}/lib",
    }


def wants_completion(config: ModelConfig, path: Path) -> bool:
    """False when asking the model's auto_complete_config would say nothing: then no process is
    started for it.
    """
    if not (config.input and config.output):
        return True
    try:
        return not _lacks_completion(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, SyntaxError, ValueError, RecursionError):
        return True  # loading it tells what is wrong


def _lacks_completion(source: str) -> bool:
    """Whether it is plain that TritonPythonModel has no auto_complete_config: the source does not
    name it, and the class is made there, with nothing from elsewhere.
    """
    if "auto_complete_config" in source or "import *" in source:
        return False
    body = ast.parse(source).body
    classes = {node.name: node for node in body if isinstance(node, ast.ClassDef)}
    return _is_plain(classes, "TritonPythonModel") and source.count("TritonPythonModel") == 1


def _is_plain(classes: dict[str, ast.ClassDef], name: str) -> bool:
    """Whether a class and its bases are made here, by nothing but their bodies."""
    found = classes.pop(name, None)
    if found is None or found.keywords or found.decorator_list:
        return False
    return all(
        isinstance(base, ast.Name) and (base.id == "object" or _is_plain(classes, base.id))
        for base in found.bases
    )


def complete_python_config(config: ModelConfig, completed: str) -> None:
    """Takes over what a model's auto_complete_config may set. `completed` is a configuration as
    JSON. InvalidArgumentError when it is not one.
    """
    from google.protobuf import json_format

    parsed = new_config()
    try:
        json_format.Parse(completed, parsed)
    except json_format.ParseError as error:
        raise InvalidArgumentError(
            f"model '{config.name}': auto_complete_config made no valid configuration: {error}"
        ) from None
    for field in ("input", "output"):
        config.ClearField(field)
        getattr(config, field).MergeFrom(getattr(parsed, field))
    for field in ("dynamic_batching", "model_transaction_policy"):
        if parsed.HasField(field):
            getattr(config, field).CopyFrom(getattr(parsed, field))
    config.max_batch_size = parsed.max_batch_size
