"""Finds the libraries of native backends inside the wheels that the user installed.

The packages are located, never imported: importing onnxruntime takes longer than starting the
server, and the core needs only the path of its shared library.
"""

import importlib.util
import re
from pathlib import Path

from fastserve.errors import UnavailableError

_VERSION = re.compile(r"libonnxruntime\.so\.(\d+(?:\.\d+)*)$")
_INSTALL = "pip install fastserve[onnx]"


def find_onnxruntime_library() -> Path:
    """The libonnxruntime.so.1.* of the installed wheel `onnxruntime` or `onnxruntime-gpu`.

    Raises UnavailableError, saying what to install, when there is none.
    """
    folders = _package_folders("onnxruntime")
    if not folders:
        raise UnavailableError(
            f"ONNX models need ONNX Runtime, and it is not installed: {_INSTALL}"
        )
    libraries = [path for folder in folders for path in (folder / "capi").glob("*.so.*")]
    versions = {path: found for path in libraries if (found := _version_of(path)) is not None}
    if not versions:
        raise UnavailableError(
            f"the package onnxruntime in {folders[0]} has no file capi/libonnxruntime.so.1.*, as "
            f"releases before 1.19: pip install --upgrade 'onnxruntime>=1.19'"
        )
    return max(versions, key=lambda path: versions[path])


def worker_script() -> Path:
    """What an interpreter runs as the worker of a Python model."""
    return Path(__file__).parent / "python_backend" / "worker.py"


def _package_folders(name: str) -> list[Path]:
    """Where a top-level package lies, without importing it; empty when it is not installed."""
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # a module without __spec__ stands in sys.modules under that name
        return []
    if spec is None or spec.submodule_search_locations is None:
        return []
    return [Path(location) for location in spec.submodule_search_locations]


def _version_of(path: Path) -> tuple[int, ...] | None:
    """(1, 32, 0) for libonnxruntime.so.1.32.0, None for any other file."""
    match = _VERSION.search(path.name)
    return tuple(int(part) for part in match[1].split(".")) if match else None
