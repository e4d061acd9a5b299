"""Ragged batching in a configuration: `allow_ragged_batch`, `batch_input` and `batch_output`."""

from collections.abc import Iterator
from typing import Any

from fastserve.config.ensemble import is_ensemble
from fastserve.config.parse import ModelConfig
from fastserve.config.schema import load_pool, message_class
from fastserve.errors import InvalidArgumentError

_ITEM_SHAPE, _ITEM_SHAPE_FLATTEN = 4, 5
# The data types of a batch input, by number.
_TYPES = {8: "INT32", 11: "FP32"}
_EXAMPLE = (
    'batch_input [ { kind: BATCH_ELEMENT_COUNT target_name: "..." data_type: TYPE_INT32 '
    'source_input: "..." } ]'
)


def _kind_name(number: int) -> str:
    """BATCH_ELEMENT_COUNT, or "" for a number that is no kind."""
    kinds = load_pool().FindEnumTypeByName("inference.BatchInput.Kind").values_by_number
    return str(kinds[number].name) if number in kinds else ""


# --- what the model sees -------------------------------------------------------------------------


def batch_inputs(config: ModelConfig) -> list[Any]:
    """The tensors of a checked `batch_input`, as ModelInput messages. One without a batch dimension
    is marked allow_ragged_batch.
    """
    tensor = message_class("inference.ModelInput")
    return [
        tensor(
            name=name,
            data_type=item.data_type,
            dims=[_rank(config, item.source_input[0]) if item.kind == _ITEM_SHAPE else -1],
            allow_ragged_batch=item.kind != _ITEM_SHAPE,
        )
        for item in config.batch_input
        for name in item.target_name
    ]


def _backend_dims(tensor: Any) -> list[int]:
    return list(tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims)


def _rank(config: ModelConfig, name: str) -> int:
    """How many dimensions the model sees of each row of the input; -1 when there is none."""
    return next((len(_backend_dims(item)) for item in config.input if item.name == name), -1)


def scattered_outputs(config: ModelConfig) -> set[str]:
    """The outputs that are not split by rows."""
    return {name for item in config.batch_output for name in item.target_name}


def batch_io_spec(config: ModelConfig) -> dict[str, Any]:
    """The core's batch_inputs and batch_outputs (csrc/inference/batch_io_spec.h)."""
    return {
        "batch_inputs": [
            {
                "name": name,
                "kind": _kind_name(item.kind),
                "type": _TYPES[item.data_type],
                "source_input": item.source_input[0],
            }
            for item in config.batch_input
            for name in item.target_name
        ],
        "batch_outputs": [
            {"name": name, "source_input": item.source_input[0]}
            for item in config.batch_output
            for name in item.target_name
        ],
    }


# --- checks --------------------------------------------------------------------------------------


def validate_ragged_inputs(config: ModelConfig) -> None:
    """InvalidArgumentError for a ragged input where batches cannot be ragged."""
    if is_ensemble(config):
        _refuse_in_ensemble(config)
    for tensor in config.input:
        if tensor.allow_ragged_batch and (reason := _wrong_with_ragged(config, tensor)):
            raise InvalidArgumentError(
                f"allow_ragged_batch of input '{tensor.name}' {reason} for {config.name}"
            )


def _refuse_in_ensemble(config: ModelConfig) -> None:
    fields = [
        f"allow_ragged_batch of input '{t.name}'" for t in config.input if t.allow_ragged_batch
    ]
    fields += [name for name in ("batch_input", "batch_output") if getattr(config, name)]
    if fields:
        raise InvalidArgumentError(
            f"{fields[0]} must not be specified for ensemble '{config.name}'; write it in the "
            "configurations of its members"
        )


def _wrong_with_ragged(config: ModelConfig, tensor: Any) -> str:
    """What to write instead, or ""."""
    if tensor.optional:
        return "is not supported for an optional input; remove one of the two"
    if config.HasField("sequence_batching") and not config.sequence_batching.HasField("oldest"):
        return (
            "needs the oldest strategy: direct fills the rows of idle sequences; write "
            "sequence_batching { oldest { max_candidate_sequences: ... } }"
        )
    return ""


def validate_batch_inputs(config: ModelConfig) -> None:
    """Each batch input by itself, which completion relies on. InvalidArgumentError."""
    hidden = [item.name for item in config.sequence_batching.control_input]
    hidden += [state.input_name for state in config.sequence_batching.state]
    taken = {tensor.name for tensor in config.input} | set(hidden)
    for item in config.batch_input:
        if reason := _wrong_with_batch_input(config, item):
            raise InvalidArgumentError(f"batch input {reason} for {config.name}")
        for name in item.target_name:
            if not name or name in taken:
                raise InvalidArgumentError(
                    f"batch input '{name}' is the name of another input, or of none, for "
                    f"{config.name}; the server makes this tensor, so remove the other"
                )
            taken.add(name)


def _wrong_with_batch_input(config: ModelConfig, item: Any) -> str:
    """What to write instead, or ""."""
    kind = _kind_name(item.kind)
    if not kind:
        return f"kind {item.kind} is unknown; write {_EXAMPLE}"
    if not item.target_name:
        return f"of kind {kind} must specify 'target_name'; write {_EXAMPLE}"
    where = f"'{item.target_name[0]}' of kind {kind}"
    if item.data_type not in _TYPES:
        return f"{where} must have data type TYPE_INT32 or TYPE_FP32; write data_type: TYPE_INT32"
    if len(item.source_input) != 1:
        return (
            f"{where} expects 1 source input, got {len(item.source_input)}; write "
            'source_input: "..."'
        )
    if config.max_batch_size == 0 and item.kind in (_ITEM_SHAPE, _ITEM_SHAPE_FLATTEN):
        return f"{where} has one entry per row of a batch; write max_batch_size above 0"
    return ""


def validate_batch_sources(config: ModelConfig) -> None:
    """What batch inputs and batch outputs refer to. InvalidArgumentError."""
    for item in config.batch_input:
        _validate_source(config, f"batch input '{item.target_name[0]}'", item.source_input[0])
    for reason in _wrong_with_batch_outputs(config):
        raise InvalidArgumentError(f"batch output {reason} for {config.name}")
    for item in config.batch_output:
        where = f"batch output '{item.target_name[0]}'"
        _validate_source(config, where, item.source_input[0])
        for name in item.target_name:
            _validate_target_dims(config, name, item.source_input[0])


def _validate_source(config: ModelConfig, where: str, name: str) -> None:
    source = next((tensor for tensor in config.input if tensor.name == name), None)
    if source is None:
        known = ", ".join(tensor.name for tensor in config.input)
        raise InvalidArgumentError(
            f"{where} has unknown source input name '{name}' for {config.name}; its inputs are "
            f"{known}"
        )
    if source.optional:
        raise InvalidArgumentError(
            f"{where} has source input '{name}', which requests may leave out, for {config.name}; "
            f"remove optional: true from input '{name}'"
        )


def _wrong_with_batch_outputs(config: ModelConfig) -> Iterator[str]:
    """What to write instead, first things first."""
    for item in config.batch_output:
        if item.kind != 0:
            yield f"kind {item.kind} is unknown; write kind: BATCH_SCATTER_WITH_INPUT_SHAPE"
        if not item.target_name:
            yield "must specify 'target_name'; write the name of an output"
        if len(item.source_input) != 1:
            yield (
                f"'{', '.join(item.target_name)}' expects 1 source input, got "
                f'{len(item.source_input)}; write source_input: "..."'
            )
    yield from _wrong_with_targets(config)


def _wrong_with_targets(config: ModelConfig) -> Iterator[str]:
    """What to write instead of the target outputs."""
    outputs = {tensor.name: tensor for tensor in config.output}
    states = {state.output_name for state in config.sequence_batching.state}
    seen: set[str] = set()
    for name in (name for item in config.batch_output for name in item.target_name):
        if name not in outputs:
            yield f"has unknown target output name '{name}'; write one of {', '.join(outputs)}"
        elif name in seen:
            yield f"target output name '{name}' can only be specified once"
        elif outputs[name].HasField("reshape"):
            yield f"'{name}' has a reshape; write the shape of the responses as its dims"
        elif name in states:
            yield f"'{name}' is a state of sequence_batching, which is split by rows; remove it"
        seen.add(name)


def _validate_target_dims(config: ModelConfig, target: str, source: str) -> None:
    """Each -1 of the output needs a dimension of the input at its place."""
    output = next(tensor for tensor in config.output if tensor.name == target)
    variable = [place for place, dim in enumerate(output.dims) if dim == -1]
    if variable and variable[-1] >= _rank(config, source):
        raise InvalidArgumentError(
            f"batch output '{target}' has dims {list(output.dims)} for {config.name}: the -1 at "
            f"place {variable[-1] + 1} is to be that of source input '{source}', which has only "
            f"{_rank(config, source)} dimensions; write a number"
        )
