"""Names and paths that come from configurations, URLs and directories: nothing leaves the model's
own directory.
"""

import os
from pathlib import Path

from fastserve.errors import InvalidArgumentError


def check_model_name(name: str) -> None:
    """Refuses names that are empty, white space, "." or "..", or that contain a path separator or
    NUL.
    """
    if not name.strip():
        raise InvalidArgumentError("a model name must not be empty or white space")
    if name in (".", "..") or any(character in name for character in "/\\\0"):
        raise InvalidArgumentError(
            f"'{name}' is not a model name; it must be the name of one directory"
        )


def inside_directory(directory: Path, name: str, field: str) -> Path:
    """directory/name, where the configuration's `field` gave `name`.

    InvalidArgumentError when the path, with every symbolic link followed, is not under `directory`.
    """
    if "\0" in name or os.path.isabs(name):
        raise InvalidArgumentError(f"{field} '{name}' must be a path inside the model's directory")
    path = directory / name
    root = os.path.realpath(directory)
    resolved = os.path.realpath(path)
    if os.path.commonpath([root, resolved]) != root:
        raise InvalidArgumentError(f"{field} '{name}' leaves the model's directory")
    return path
