"""`ModelConfig`, which auto_complete_config fills, and readers of a configuration."""

from __future__ import annotations

import json
from typing import Any, Dict, List

_SCHEDULERS = ("dynamic_batching", "sequence_batching", "ensemble_scheduling")
_PROPERTIES = {"name", "data_type", "dims", "optional"}


class ModelConfig:
    """A model configuration as a dictionary. Setters complete it; what contradicts it is a
    ValueError.
    """

    def __init__(self, model_config: str) -> None:
        self._config: Dict[str, Any] = json.loads(model_config)

    def as_dict(self) -> Dict[str, Any]:
        return self._config

    def set_max_batch_size(self, max_batch_size: int) -> None:
        """The largest batch size; ValueError when the configuration has a larger one."""
        configured = int(self._config.get("max_batch_size", 0))
        if configured > max_batch_size:
            raise ValueError(
                f"model '{self._name()}': max_batch_size is configured as {configured}, the model "
                f"supports {max_batch_size}"
            )
        self._config["max_batch_size"] = max_batch_size

    def set_dynamic_batching(self) -> None:
        """Dynamic batching with its defaults, unless the model has a scheduler."""
        configured = [name for name in _SCHEDULERS if name in self._config]
        if configured and configured != ["dynamic_batching"]:
            raise ValueError(
                f"model '{self._name()}': dynamic_batching cannot be set beside {configured[0]}"
            )
        self._config.setdefault("dynamic_batching", {})

    def set_model_transaction_policy(self, transaction_policy_dict: Dict[str, Any]) -> None:
        unknown = set(transaction_policy_dict) - {"decoupled"}
        if unknown:
            raise ValueError(f"model transaction policy has no property {sorted(unknown)}")
        wanted = transaction_policy_dict.get("decoupled", False)
        configured = self._config.setdefault("model_transaction_policy", {})
        if configured.setdefault("decoupled", wanted) != wanted:
            raise ValueError(
                f"model '{self._name()}': decoupled is configured as {not wanted}, the model "
                f"wants {wanted}"
            )

    def add_input(self, input: Dict[str, Any]) -> None:  # noqa: A002  the name is Triton's
        """An input with name, data_type, dims and perhaps optional."""
        self._add("input", input, _PROPERTIES)

    def add_output(self, output: Dict[str, Any]) -> None:
        self._add("output", output, _PROPERTIES - {"optional"})

    def _name(self) -> str:
        return str(self._config.get("name", ""))

    def _add(self, kind: str, tensor: Dict[str, Any], allowed: Any) -> None:
        unknown = sorted(set(tensor) - allowed)
        missing = sorted({"name", "data_type", "dims"} - set(tensor))
        if unknown or missing:
            raise ValueError(
                f"model '{self._name()}': {kind} {tensor.get('name', '')!r} has unknown "
                f"properties {unknown}, lacks {missing}"
            )
        tensors: List[Dict[str, Any]] = self._config.setdefault(kind, [])
        for configured in tensors:
            if configured.get("name") == tensor["name"]:
                self._complete(kind, configured, tensor)
                return
        tensors.append(dict(tensor))

    def _complete(self, kind: str, configured: Dict[str, Any], tensor: Dict[str, Any]) -> None:
        for key, value in tensor.items():
            current = configured.get(key)
            if key == "dims" and current:
                same = [int(size) for size in current] == [int(size) for size in value]
            else:
                same = current in (None, [], "", "TYPE_INVALID", False) or current == value
            if not same:
                raise ValueError(
                    f"model '{self._name()}': {kind} '{tensor['name']}' has {key} {current} in its "
                    f"configuration, the model wants {value}"
                )
            if current in (None, [], "", "TYPE_INVALID", False):
                configured[key] = value


def _by_name(tensors: List[Dict[str, Any]], name: str) -> Dict[str, Any] | None:
    for tensor in tensors:
        if tensor["name"] == name:
            return tensor
    return None


def get_input_config_by_name(model_config: Dict[str, Any], name: str) -> Dict[str, Any] | None:
    return _by_name(model_config.get("input", []), name)


def get_output_config_by_name(model_config: Dict[str, Any], name: str) -> Dict[str, Any] | None:
    return _by_name(model_config.get("output", []), name)


def using_decoupled_model_transaction_policy(model_config: Dict[str, Any]) -> bool:
    policy = model_config.get("model_transaction_policy") or {}
    return bool(policy.get("decoupled", False))
