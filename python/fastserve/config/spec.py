"""A complete configuration -> the dict that the core's ModelSpec is made of
(csrc/inference/model_spec.h).
"""

import os
from pathlib import Path
from typing import Any

from fastserve.config.backends import WITHOUT_FILE
from fastserve.config.complete import protocol_type
from fastserve.config.ensemble import ensemble_spec, is_ensemble
from fastserve.config.model_metrics import model_metrics_spec
from fastserve.config.parse import ModelConfig
from fastserve.config.paths import inside_directory
from fastserve.config.python_models import is_python_model, python_model_file, worker_spec
from fastserve.config.ragged import batch_io_spec
from fastserve.config.sequence_spec import sequence_batching_spec
from fastserve.errors import InvalidArgumentError

Spec = dict[str, Any]


def model_spec(
    config: ModelConfig,
    version: int,
    model_directory: Path,
    backend_config: dict[str, str],
    backend_directory: str = "",
) -> Spec:
    """One version of a model. InvalidArgumentError for a file name that leaves the model's
    directory.
    """
    spec = base_spec(config, version, model_directory, backend_config, backend_directory)
    spec |= {
        "inputs": [_tensor(tensor) for tensor in config.input],
        "outputs": [
            _tensor(tensor) | {"labels": _labels(config, tensor, model_directory)}
            for tensor in config.output
        ],
        "warmup": [_warmup(sample, model_directory) for sample in config.model_warmup],
        "instance_groups": [_instance_group(group) for group in config.instance_group],
        "decoupled": config.model_transaction_policy.decoupled,
        "response_cache": config.response_cache.enable,
        "metric_tags": dict(config.metric_tags),
        **batch_io_spec(config),
        **model_metrics_spec(config),
    }
    if config.HasField("dynamic_batching"):
        spec["dynamic_batching"] = _dynamic_batching(config.dynamic_batching)
    if config.HasField("sequence_batching"):
        spec["sequence_batching"] = sequence_batching_spec(config, model_directory)
    if is_ensemble(config):
        spec["ensemble"] = ensemble_spec(config)
    return spec


def base_spec(
    config: ModelConfig,
    version: int,
    model_directory: Path,
    backend_config: dict[str, str],
    backend_directory: str = "",
) -> Spec:
    """What a backend needs to open the model file and tell its signature."""
    python = is_python_model(config, backend_directory)
    spec = {
        "name": config.name,
        "version": version,
        "backend": config.backend,
        "platform": config.platform,
        "path": _model_path(config, version, model_directory, backend_directory),
        "max_batch_size": config.max_batch_size,
        "parameters": {key: value.string_value for key, value in config.parameters.items()},
        "backend_config": backend_config,
        "graph_optimization_level": config.optimization.graph.level,
    }
    return spec | worker_spec(config, version, model_directory) if python else spec


def _model_path(
    config: ModelConfig, version: int, model_directory: Path, backend_directory: str
) -> str:
    if config.backend in WITHOUT_FILE or is_ensemble(config):
        return ""
    if is_python_model(config, backend_directory):
        return str(python_model_file(config, version, model_directory, backend_directory))
    return str(_model_file(config, version, model_directory))


def _model_file(config: ModelConfig, version: int, model_directory: Path) -> Path:
    name = str(config.default_model_filename)
    path = model_directory / str(version) / name
    # The repository's owner may link the file under its usual name; a configuration may not point
    # elsewhere.
    if name != "model.onnx":
        inside_directory(
            model_directory, os.path.join(str(version), name), "default_model_filename"
        )
    if not path.exists():
        raise InvalidArgumentError(
            f"failed to find the model file {path} of model '{config.name}'; put it there, or "
            "write "
            "default_model_filename"
        )
    return path


def _tensor(tensor: Any) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "type": protocol_type(tensor.data_type),
        "dims": list(tensor.dims),
        "reshape": list(tensor.reshape.shape) if tensor.HasField("reshape") else None,
        "optional": getattr(tensor, "optional", False),
        "allow_ragged_batch": getattr(tensor, "allow_ragged_batch", False),
    }


def _labels(config: ModelConfig, tensor: Any, model_directory: Path) -> list[str]:
    if not tensor.label_filename:
        return []
    path = inside_directory(model_directory, tensor.label_filename, "label_filename")
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgumentError(
            f"cannot read the label_filename of output '{tensor.name}' of model '{config.name}': "
            f"{error}"
        ) from None


def _instance_group(group: Any) -> dict[str, Any]:
    return {
        "name": group.name,
        "count": group.count,
        "passive": group.passive,
        "resources": [
            (need.name, getattr(need, "global"), need.count)
            for need in group.rate_limiter.resources
        ],
        "rate_limiter_priority": group.rate_limiter.priority or 1,
    }


def _warmup(sample: Any, model_directory: Path) -> dict[str, Any]:
    return {
        "name": sample.name,
        "batch_size": max(sample.batch_size, 1),
        "count": max(sample.count, 1),
        "inputs": [
            {
                "name": name,
                "type": protocol_type(tensor.data_type),
                "dims": list(tensor.dims),
                "random": tensor.random_data,
                "path": _warmup_file(tensor.input_data_file, model_directory),
            }
            for name, tensor in sorted(sample.inputs.items())
        ],
    }


def _warmup_file(name: str, model_directory: Path) -> str:
    if not name:
        return ""
    field = "model_warmup input_data_file"
    folder = inside_directory(model_directory, "warmup", field)
    path = inside_directory(folder, name, field)
    if not path.is_file():
        raise InvalidArgumentError(f"{field} '{name}': there is no {path}")
    return str(path)


def _queue_policy(policy: Any, in_order: bool) -> dict[str, Any]:
    # Validation leaves no default timeout to a policy that delays where the order is preserved: a
    # request's own timeout would delay it, so it is ignored, as in Triton.
    delay = policy.timeout_action == 1
    return {
        "delay": delay,
        "default_timeout_us": policy.default_timeout_microseconds,
        "allow_timeout_override": policy.allow_timeout_override and not (delay and in_order),
        "max_queue_size": policy.max_queue_size,
    }


def _dynamic_batching(batching: Any) -> dict[str, Any]:
    in_order = batching.preserve_ordering
    return {
        "preferred_batch_sizes": list(batching.preferred_batch_size),
        "max_queue_delay_us": batching.max_queue_delay_microseconds,
        "preserve_ordering": in_order,
        "priority_levels": batching.priority_levels,
        "default_priority_level": batching.default_priority_level,
        "default_queue_policy": _queue_policy(batching.default_queue_policy, in_order),
        "priority_queue_policy": {
            level: _queue_policy(policy, in_order)
            for level, policy in batching.priority_queue_policy.items()
            if level <= batching.priority_levels  # without levels they mean nothing
        },
    }
