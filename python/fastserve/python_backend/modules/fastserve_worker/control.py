"""Loading and unloading models from a model."""

from __future__ import annotations

import base64
from typing import Dict

from . import current


def load_model(model_name: str, config: str = "", files: Dict[str, bytes] | None = None) -> None:
    """Loads or reloads a model. `config`: JSON that replaces its configuration; `files`: contents
    by "file:VERSION/NAME". TritonModelException when it fails.
    """
    encoded = {path: base64.b64encode(data).decode("ascii") for path, data in (files or {}).items()}
    current.worker().calls.call("load_model", model_name=model_name, config=config, files=encoded)


def unload_model(model_name: str, unload_dependents: bool = False) -> None:
    """Starts to unload a model: it takes no new requests when this returns."""
    current.worker().calls.call(
        "unload_model", model_name=model_name, unload_dependents=bool(unload_dependents)
    )


def is_model_ready(model_name: str, model_version: str = "") -> bool:
    return bool(
        current.worker().calls.call(
            "is_model_ready", model_name=model_name, model_version=str(model_version)
        )
    )


def get_model_dir() -> str:
    """The directory of the version that this worker runs."""
    return current.worker().version_directory
