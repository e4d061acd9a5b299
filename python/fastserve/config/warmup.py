"""Checks `model_warmup`: samples that every instance executes before the model is ready."""

from typing import Any

from fastserve.config.parse import ModelConfig
from fastserve.errors import InvalidArgumentError

# Each sample runs on each instance; more than this would look like a hung load.
_MAX_COUNT = 100_000


def validate_warmup(config: ModelConfig) -> None:
    """InvalidArgumentError names the sample and says what to write."""
    known = {tensor.name for tensor in config.input}
    for sample in config.model_warmup:
        where = f"warmup sample '{sample.name}' of model {config.name}"
        limit = max(config.max_batch_size, 1)
        if sample.batch_size > limit:
            raise InvalidArgumentError(
                f"{where}: batch_size must be at most {limit}, got {sample.batch_size}"
            )
        if sample.count > _MAX_COUNT:
            raise InvalidArgumentError(
                f"{where}: count must be at most {_MAX_COUNT}, got {sample.count}"
            )
        for name, tensor in sample.inputs.items():
            if not config.HasField("sequence_batching") and name not in known:
                raise InvalidArgumentError(
                    f"{where}: the model has no input '{name}'; it has {', '.join(sorted(known))}"
                )
            _validate_input(f"{where}: input '{name}'", tensor)


def _validate_input(where: str, tensor: Any) -> None:
    if tensor.WhichOneof("input_data_type") is None:
        raise InvalidArgumentError(
            f"{where} must have zero_data: true, random_data: true or input_data_file"
        )
    if tensor.data_type == 0:
        raise InvalidArgumentError(f"{where} must specify 'data_type'; write data_type: TYPE_...")
    if any(dim < 1 for dim in tensor.dims):
        raise InvalidArgumentError(
            f"{where}: dims must be fixed and at least 1, got {list(tensor.dims)}"
        )
