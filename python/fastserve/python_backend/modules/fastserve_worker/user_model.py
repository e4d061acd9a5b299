"""The user's model.py: imported, asked for its configuration, initialised, checked, ended."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import json
import os
import sys
import types
from typing import Any, Dict, Tuple

from .errors import TritonModelException
from .model_config import ModelConfig

READY_LIMIT_S = 5.0


def extend_search_path(settings: Dict[str, Any]) -> None:
    """The folders that a model imports from: python_path before all, its own after the rest."""
    sys.path[:0] = settings.get("python_path", [])
    folders = (
        os.path.dirname(settings["model_path"]),
        settings["version_directory"],
        settings["model_repository"],
    )
    for folder in folders:
        if folder and folder not in sys.path:
            sys.path.append(folder)


def import_model(settings: Dict[str, Any]) -> Any:
    """The class TritonPythonModel of the model's file, imported as `VERSION.FILE`, so that relative
    imports reach its neighbours.
    """
    path = settings["model_path"]
    package = str(settings["model_version"])
    name = f"{package}.{os.path.splitext(os.path.basename(path))[0]}"
    if name not in sys.modules:
        parent = types.ModuleType(package)
        parent.__path__ = [os.path.dirname(path), settings["version_directory"]]
        sys.modules[package] = parent
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise TritonModelException(f"'{path}' is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    module = sys.modules[name]
    if not hasattr(module, "TritonPythonModel"):
        raise TritonModelException(f"'{path}' has no class TritonPythonModel")
    return module.TritonPythonModel


def complete_config(model_class: Any, settings: Dict[str, Any]) -> str:
    """What auto_complete_config makes of the configuration, as JSON; "" when the model has none."""
    if not hasattr(model_class, "auto_complete_config"):
        return ""
    completed = model_class.auto_complete_config(ModelConfig(settings["model_config"]))
    if not isinstance(completed, ModelConfig):
        raise TritonModelException(
            f"auto_complete_config returned {type(completed).__name__}, expected ModelConfig"
        )
    try:
        return json.dumps(completed.as_dict())
    except (TypeError, ValueError) as failure:
        raise TritonModelException(f"the configuration is not JSON: {failure}") from None


def create(model_class: Any, settings: Dict[str, Any]) -> Any:
    """An initialised instance."""
    model = model_class()
    if not callable(getattr(model, "execute", None)):
        raise TritonModelException("class TritonPythonModel has no method execute")
    if hasattr(model, "initialize"):
        model.initialize(_arguments(settings))
    return model


def _arguments(settings: Dict[str, Any]) -> Dict[str, str]:
    return {
        "model_config": settings["model_config"],
        "model_instance_kind": _kind_of_group(settings),
        "model_instance_name": str(settings["instance_name"]),
        "model_instance_device_id": str(settings["device_id"]),
        "model_repository": str(settings["model_repository"]),
        "model_version": str(settings["model_version"]),
        "model_name": str(settings["model_name"]),
    }


def _kind_of_group(settings: Dict[str, Any]) -> str:
    """MODEL when the instance's group says so; else what this server has."""
    groups = json.loads(settings["model_config"]).get("instance_group") or []
    group_name, _, _ = str(settings["instance_name"]).rpartition("_")
    for group in groups:
        if group.get("name") == group_name and group.get("kind") == "KIND_MODEL":
            return "MODEL"
    return str(settings["instance_kind"])


def is_decoupled(settings: Dict[str, Any]) -> bool:
    policy = json.loads(settings["model_config"]).get("model_transaction_policy") or {}
    return bool(policy.get("decoupled", False))


def has_ready_control(settings: Dict[str, Any]) -> bool:
    """Whether a control input tells the model which rows of a sequence batch have a request."""
    batching = json.loads(settings["model_config"]).get("sequence_batching") or {}
    return any(
        control.get("kind") == "CONTROL_SEQUENCE_READY"
        for tensor in batching.get("control_input") or []
        for control in tensor.get("control") or []
    )


async def check_ready_async(model: Any) -> Tuple[bool, str]:
    """Calls is_ready in the running event loop; (ready, why not)."""
    ready = model.is_ready()
    if inspect.isawaitable(ready):
        try:
            ready = await asyncio.wait_for(ready, READY_LIMIT_S)
        except asyncio.TimeoutError:
            return False, f"is_ready took more than {READY_LIMIT_S:g} s"
    if not isinstance(ready, bool):
        return False, f"is_ready returned {type(ready).__name__}, expected bool"
    return ready, ""


def check_ready(model: Any) -> Tuple[bool, str]:
    """check_ready_async() on a thread without an event loop."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(check_ready_async(model))
    finally:
        loop.close()
