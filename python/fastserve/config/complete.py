"""Completes a configuration from what the model file declares, and refuses one that contradicts it.

The rules are those of Triton's ONNX Runtime backend: batching needs a variable first dimension on
every tensor; a configuration that lists inputs and outputs is complete; texts as Triton's.
"""

from typing import Any

from fastserve.config.parse import ModelConfig
from fastserve.config.ragged import batch_inputs, scattered_outputs
from fastserve.config.sequence import hidden_inputs, hidden_outputs
from fastserve.errors import InvalidArgumentError

# A signature from the core: {"inputs": [{"name", "data_type", "dims", "dim_names"}], "outputs":
# [...]}.
Signature = dict[str, list[dict[str, Any]]]

DEFAULT_MAX_BATCH_SIZE = 4


def type_name(protocol_name: str) -> str:
    """FP32 -> TYPE_FP32, BYTES -> TYPE_STRING."""
    return "TYPE_STRING" if protocol_name == "BYTES" else f"TYPE_{protocol_name}"


def protocol_type(config_number: int) -> str:
    """The enum number of a configuration -> FP32, BYTES."""
    name = str(_data_types().values_by_number[config_number].name)
    return "BYTES" if name == "TYPE_STRING" else name[len("TYPE_") :]


def _data_types() -> Any:
    from fastserve.config.schema import load_pool

    return load_pool().FindEnumTypeByName("inference.DataType")


def shape_text(dims: Any) -> str:
    """[-1,16]"""
    return "[" + ",".join(str(dim) for dim in dims) + "]"


def complete_config(config: ModelConfig, signature: Signature, default_max_batch_size: int) -> None:
    """Fills max_batch_size, dynamic_batching, input and output where the configuration leaves them
    open.
    """
    if not (config.input and config.output):
        _complete_batching(config, signature, default_max_batch_size)
    shown = _without(signature["inputs"], [*hidden_inputs(config), *batch_inputs(config)])
    _complete_tensors(config, config.input, shown)
    shown = _without(signature["outputs"], hidden_outputs(config))
    _complete_tensors(config, config.output, shown)


def _without(declared: list[dict[str, Any]], hidden: list[Any]) -> list[dict[str, Any]]:
    names = {tensor.name for tensor in hidden}
    return [item for item in declared if item["name"] not in names]


def _complete_batching(config: ModelConfig, signature: Signature, default: int) -> None:
    tensors = signature["inputs"] + signature["outputs"]
    if not all(tensor["dims"] and tensor["dims"][0] == -1 for tensor in tensors):
        if config.max_batch_size != 0:
            raise InvalidArgumentError(
                f"autofill failed for model '{config.name}': model does not support batching "
                "while non-zero "
                "max_batch_size is specified; write max_batch_size: 0"
            )
        return
    if config.max_batch_size == 0:
        config.max_batch_size = default
    if config.max_batch_size > 1 and config.WhichOneof("scheduling_choice") is None:
        config.dynamic_batching.SetInParent()


def _complete_tensors(config: ModelConfig, tensors: Any, declared: list[dict[str, Any]]) -> None:
    if not tensors:
        for item in declared:
            tensor = tensors.add(name=item["name"])
            tensor.data_type = _data_types().values_by_name[type_name(item["data_type"])].number
            _set_dims(config, tensor, item)
        return
    by_name = {item["name"]: item for item in declared}
    for tensor in tensors:
        if tensor.name not in by_name:
            continue
        item = by_name[tensor.name]
        if tensor.data_type == 0:
            tensor.data_type = _data_types().values_by_name[type_name(item["data_type"])].number
        # The model file has the flat shape, not that of the requests.
        flat = getattr(tensor, "allow_ragged_batch", False)
        if not tensor.dims and not flat:
            _set_dims(config, tensor, item)


def _set_dims(config: ModelConfig, tensor: Any, declared: dict[str, Any]) -> None:
    """dims without the batch dimension; a tensor of which nothing is left is presented as [1]."""
    dims = declared["dims"][1:] if config.max_batch_size > 0 else declared["dims"]
    if dims:
        tensor.dims.extend(dims)
    else:
        tensor.dims.append(1)
        tensor.reshape.SetInParent()


def check_signature(config: ModelConfig, signature: Signature) -> None:
    """Refuses a configuration whose tensors are not those of the model file."""
    declared = signature["inputs"]
    names = {item["name"] for item in declared}
    # An optional input may be one that the file has a default for, which it does not declare as an
    # input. The core knows those and refuses any other.
    required = [tensor for tensor in config.input if not tensor.optional or tensor.name in names]
    inputs = [*required, *hidden_inputs(config), *batch_inputs(config)]
    if len(inputs) != len(declared):
        raise InvalidArgumentError(
            f"unable to load model '{config.name}', configuration expects {len(inputs)} "
            "inputs, "
            f"model provides {len(declared)}: {_names(declared)}"
        )
    _check_tensors(config, inputs, declared, "input")
    outputs = [*config.output, *hidden_outputs(config)]
    _check_tensors(config, outputs, signature["outputs"], "output")


def _names(declared: list[dict[str, Any]]) -> str:
    return ", ".join(sorted(item["name"] for item in declared))


def _check_tensors(
    config: ModelConfig, tensors: Any, declared: list[dict[str, Any]], kind: str
) -> None:
    by_name = {item["name"]: item for item in declared}
    for tensor in tensors:
        if tensor.name not in by_name:
            raise InvalidArgumentError(
                f"unexpected inference {kind} '{tensor.name}', allowed {kind}s are: "
                f"{_names(declared)}"
            )
        item = by_name[tensor.name]
        if protocol_type(tensor.data_type) != item["data_type"]:
            raise InvalidArgumentError(
                f"model '{config.name}', tensor '{tensor.name}': the model expects data type "
                f"{type_name(item['data_type'])} but the model configuration specifies "
                f"{type_name(protocol_type(tensor.data_type))}"
            )
        if getattr(tensor, "allow_ragged_batch", False):
            _check_flat(config, tensor, item["dims"])
        elif kind == "input" or tensor.name not in scattered_outputs(config):
            _check_shape(config, tensor, item["dims"])


def _check_flat(config: ModelConfig, tensor: Any, expected: list[int]) -> None:
    """Ragged inputs and batch inputs have one dimension, which varies."""
    if expected != [-1]:
        raise InvalidArgumentError(
            f"unable to load model '{config.name}', configuration expects model provides input "
            f"with shape [-1] for ragged input '{tensor.name}', model provides "
            f"{shape_text(expected)}; what allow_ragged_batch and batch_input give a model has "
            "one dimension"
        )


def _check_shape(config: ModelConfig, tensor: Any, expected: list[int]) -> None:
    where = f"model '{config.name}', tensor '{tensor.name}'"
    dims = list(tensor.reshape.shape) if tensor.HasField("reshape") else list(tensor.dims)
    batches = config.max_batch_size > 0
    if batches and (not expected or expected[0] != -1):
        raise InvalidArgumentError(
            f"{where}: for the model to support batching the shape should have at least 1 "
            "dimension and the first "
            f"dimension must be -1; but shape expected by the model is {shape_text(expected)}"
        )
    full = [-1, *dims] if batches else dims
    if len(full) != len(expected):
        raise InvalidArgumentError(
            f"{where}: the model expects {len(expected)} dimensions (shape {shape_text(expected)}) "
            f"but the model configuration specifies {_dimensions_text(full, batches)}"
        )
    if not all(map(_same_dim, full, expected)):
        raise InvalidArgumentError(
            f"{where}: the model expects shape {shape_text(expected)} but the model configuration "
            f"specifies shape {shape_text(full)}"
        )


def _same_dim(left: int, right: int) -> bool:
    return left == right or -1 in (left, right)


def _dimensions_text(full: list[int], batches: bool) -> str:
    if not batches:
        return f"{len(full)} dimensions (shape {shape_text(full)})"
    return (
        f"{len(full)} dimensions (an initial batch dimension because max_batch_size > 0 followed "
        f"by the explicit tensor shape, making complete shape {shape_text(full)})"
    )
