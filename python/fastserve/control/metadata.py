"""Model metadata (KServe v2) from a configuration."""

from typing import Any

from fastserve.config.complete import protocol_type
from fastserve.config.parse import ModelConfig

# What is offered of Triton's protocol extensions.
EXTENSIONS = [
    "classification",
    "sequence",
    "model_repository",
    "model_repository(unload_dependents)",
    "schedule_policy",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "logging",
]


def model_metadata(config: ModelConfig, versions: list[int]) -> dict[str, Any]:
    """Name, versions, platform, and the tensors as a client sees them: with the batch dimension."""
    return {
        "name": config.name,
        "versions": [str(version) for version in versions],
        "platform": config.platform or config.backend,
        "inputs": [_tensor(config, tensor) for tensor in config.input],
        "outputs": [_tensor(config, tensor) for tensor in config.output],
    }


def _tensor(config: ModelConfig, tensor: Any) -> dict[str, Any]:
    batch = [-1] if config.max_batch_size > 0 else []
    return {
        "name": tensor.name,
        "datatype": protocol_type(tensor.data_type),
        "shape": [*batch, *tensor.dims],
    }
