"""Sequence batching in a configuration: its defaults, its checks, and the tensors that clients do
not see (control inputs and states).
"""

import math
from typing import Any

from fastserve.config.parse import ModelConfig
from fastserve.config.schema import message_class
from fastserve.errors import InvalidArgumentError

DEFAULT_IDLE_US = 1_000_000
# Of the states of a whole batch, which are one tensor.
_MAX_STATE_ELEMENTS = 2**31 - 1

_START_KINDS = {0: "CONTROL_SEQUENCE_START", 1: "CONTROL_SEQUENCE_READY", 2: "CONTROL_SEQUENCE_END"}
_CORRID = 3
_KINDS = {**_START_KINDS, _CORRID: "CONTROL_SEQUENCE_CORRID"}
# The pairs of a control, with the number of the data type that each makes the input.
PAIRS = {"int32_false_true": 8, "fp32_false_true": 11, "bool_false_true": 1}
_CORRID_TYPES = {
    5: "TYPE_UINT64",
    9: "TYPE_INT64",
    4: "TYPE_UINT32",
    8: "TYPE_INT32",
    13: "TYPE_STRING",
}


def normalize_sequence(config: ModelConfig) -> None:
    """Writes Triton's defaults into sequence_batching."""
    if not config.HasField("sequence_batching"):
        return
    batching = config.sequence_batching
    batching.max_sequence_idle_microseconds = (
        batching.max_sequence_idle_microseconds or DEFAULT_IDLE_US
    )
    if batching.WhichOneof("strategy_choice") is None:
        batching.direct.SetInParent()
    if batching.HasField("oldest") and config.max_batch_size > 0:
        preferred = batching.oldest.preferred_batch_size
        if not preferred:
            preferred.append(config.max_batch_size)


# --- tensors that clients do not see -------------------------------------------------------------


def control_type(control: Any) -> int:
    """The data type's number of a checked control's input."""
    if control.kind == _CORRID:
        return int(control.data_type)
    return next(number for field, number in PAIRS.items() if getattr(control, field))


def _hidden(name: str, data_type: int, dims: Any) -> Any:
    return message_class("inference.ModelInput")(name=name, data_type=data_type, dims=dims)


def hidden_inputs(config: ModelConfig) -> list[Any]:
    """The control and state inputs of a checked configuration, as ModelInput messages."""
    batching = config.sequence_batching
    controls = [
        _hidden(item.name, control_type(item.control[0]), [1]) for item in batching.control_input
    ]
    return controls + [_hidden(s.input_name, s.data_type, s.dims) for s in batching.state]


def hidden_outputs(config: ModelConfig) -> list[Any]:
    """The state outputs that are not outputs for clients as well."""
    shown = {tensor.name for tensor in config.output}
    return [
        _hidden(state.output_name, state.data_type, state.dims)
        for state in config.sequence_batching.state
        if state.output_name not in shown
    ]


# --- checks --------------------------------------------------------------------------------------


def validate_sequence_tensors(config: ModelConfig) -> None:
    """Control inputs and states, which completion relies on. InvalidArgumentError."""
    taken = {tensor.name: "an input" for tensor in config.input}
    _validate_controls(config, taken)
    outputs: set[str] = set()
    for state in config.sequence_batching.state:
        if reason := _wrong_with_state(state, taken, outputs):
            raise InvalidArgumentError(f"sequence batching state {reason} for {config.name}")
        taken[state.input_name] = "a state input"
        outputs.add(state.output_name)
        _validate_initial(config, state)
        _validate_state_size(config, state)


def _validate_controls(config: ModelConfig, taken: dict[str, str]) -> None:
    kinds: set[int] = set()
    for item in config.sequence_batching.control_input:
        if reason := _wrong_with_control(item, taken, kinds):
            raise InvalidArgumentError(f"sequence batching control {reason} for {config.name}")
        taken[item.name] = "a control input"
        kinds.add(item.control[0].kind)


def _wrong_with_control(item: Any, taken: dict[str, str], kinds: set[int]) -> str:
    """What to write instead, or ""."""
    if not item.name:
        return 'tensor must have a name; write control_input [ { name: "..." control [ ... ] } ]'
    if item.name in taken:
        return f"tensor '{item.name}' is {taken[item.name]} already; remove one of the two"
    if len(item.control) != 1:
        return (
            f"tensor '{item.name}' must have exactly one control, got {len(item.control)}; write "
            f"control [ {{ kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] }} ]"
        )
    control = item.control[0]
    if control.kind in kinds:
        return f"'{item.name}' is a second {_KINDS[control.kind]}; keep one of each kind"
    return _wrong_with_corrid(item) if control.kind == _CORRID else _wrong_with_flag(item)


def _pairs(control: Any) -> dict[str, int]:
    return {field: len(getattr(control, field)) for field in PAIRS if getattr(control, field)}


def _wrong_with_flag(item: Any) -> str:
    control = item.control[0]
    kind = _KINDS[control.kind]
    pairs = _pairs(control)
    if len(pairs) != 1:
        return (
            f"{kind} of '{item.name}' must specify either 'int32_false_true', 'fp32_false_true' or "
            f"'bool_false_true', got {', '.join(pairs) or 'none'}; write int32_false_true: [ 0, 1 ]"
        )
    (field, count), *_ = pairs.items()
    if count != 2:
        return (
            f"{kind} of '{item.name}': '{field}' must have exactly 2 entries, the values for false "
            f"and for true, got {count}; write {field}: "
            f"{'[ false, true ]' if field.startswith('bool') else '[ 0, 1 ]'}"
        )
    if control.data_type:
        return f"{kind} of '{item.name}' must not specify 'data_type': {field} says it; remove it"
    return ""


def _wrong_with_corrid(item: Any) -> str:
    control = item.control[0]
    if _pairs(control):
        return (
            f"CONTROL_SEQUENCE_CORRID of '{item.name}' must not specify "
            f"{', '.join(_pairs(control))}; write data_type: TYPE_UINT64"
        )
    if control.data_type not in _CORRID_TYPES:
        return (
            f"CONTROL_SEQUENCE_CORRID of '{item.name}' must specify 'data_type' as one of "
            f"{', '.join(_CORRID_TYPES.values())}; write data_type: TYPE_UINT64"
        )
    return ""


def _wrong_with_state(state: Any, taken: dict[str, str], outputs: set[str]) -> str:
    """What to write instead, or ""."""
    wanted = {
        "input_name": '"..."',
        "output_name": '"..."',
        "data_type": "TYPE_...",
        "dims": "[ ... ]",
    }
    for field, example in wanted.items():
        if not getattr(state, field):
            name = f"'{state.input_name}' " if state.input_name else ""
            return f"{name}must specify '{field}'; write {field}: {example}"
    name = state.input_name
    if name in taken:
        return f"'{name}' is {taken[name]} already; remove one of the two"
    if state.output_name in outputs:
        return f"output '{state.output_name}' is given twice; keep one"
    bad = [dim for dim in state.dims if dim < 1 and dim != -1]
    return f"'{name}' has dimension {bad[0]}; write one >= 1, or -1 if it varies" if bad else ""


def _validate_state_size(config: ModelConfig, state: Any) -> None:
    dims = list(state.initial_state[0].dims if state.initial_state else state.dims)
    limit = _MAX_STATE_ELEMENTS // max(config.max_batch_size, 1)
    if math.prod(1 if dim == -1 else dim for dim in dims) > limit:
        raise InvalidArgumentError(
            f"sequence batching state '{state.input_name}' has dims {dims}, expected at most "
            f"{limit} elements with max_batch_size {config.max_batch_size} for {config.name}"
        )


def _validate_initial(config: ModelConfig, state: Any) -> None:
    if not state.initial_state:
        return
    if reason := _wrong_with_initial(state):
        raise InvalidArgumentError(
            f"initial_state of sequence batching state '{state.input_name}' {reason} for "
            f"{config.name}"
        )


def _wrong_with_initial(state: Any) -> str:
    if len(state.initial_state) != 1:
        return f"is given {len(state.initial_state)} times; keep one"
    initial = state.initial_state[0]
    if initial.data_type != state.data_type:
        return "must have the 'data_type' of its state; write the same"
    dims, expected = list(initial.dims), list(state.dims)
    fits = len(dims) == len(expected) and all(
        dim >= 0 if want == -1 else dim == want for dim, want in zip(dims, expected, strict=True)
    )
    if not fits:
        return f"has dims {dims}, which must be fixed and fit the state's {expected}"
    if not (initial.zero_data or initial.data_file):
        return 'must say what it holds; write zero_data: true or data_file: "NAME"'
    return ""


def validate_sequence_strategy(config: ModelConfig) -> None:
    """The limits of the chosen strategy. InvalidArgumentError."""
    batching = config.sequence_batching
    utilization = batching.direct.minimum_slot_utilization
    if not 0 <= utilization <= 1:
        raise InvalidArgumentError(
            "sequence batching minimum_slot_utilization must be between 0 and 1 for "
            f"{config.name}; got {utilization:g}"
        )
    if not batching.HasField("oldest"):
        return
    candidates = batching.oldest.max_candidate_sequences
    if candidates < 1:
        raise InvalidArgumentError(
            f"sequence batching max_candidate_sequences must be positive for {config.name}; got "
            f"{candidates}; write how many sequences an instance serves at a time"
        )
    for size in batching.oldest.preferred_batch_size:
        if not 0 < size <= max(config.max_batch_size, 1):
            raise InvalidArgumentError(
                "sequence batching preferred batch size must be positive and <= max batch size for "
                f"{config.name}; got {size} with max_batch_size {config.max_batch_size}"
            )
