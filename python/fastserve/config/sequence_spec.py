"""sequence_batching of a checked configuration -> the dict that the core's SequenceBatchingSpec is
made of (csrc/inference/sequence_spec.h).
"""

import math
from pathlib import Path
from typing import Any

from fastserve.config.complete import protocol_type
from fastserve.config.parse import ModelConfig
from fastserve.config.paths import inside_directory
from fastserve.config.sequence import PAIRS, control_type
from fastserve.errors import InvalidArgumentError

_KINDS = ["START", "READY", "END", "CORRID"]
_ELEMENT_BYTES = {"BOOL": 1, "FP16": 2, "BF16": 2, "FP32": 4, "FP64": 8} | {
    f"{sign}INT{bits}": bits // 8 for sign in ("", "U") for bits in (8, 16, 32, 64)
}


def sequence_batching_spec(config: ModelConfig, model_directory: Path) -> dict[str, Any]:
    """Blocks while initial states are read. InvalidArgumentError for a file that is not one."""
    batching = config.sequence_batching
    strategy = batching.oldest if batching.HasField("oldest") else batching.direct
    return {
        "oldest": batching.HasField("oldest"),
        "max_sequence_idle_us": batching.max_sequence_idle_microseconds,
        "max_queue_delay_us": strategy.max_queue_delay_microseconds,
        "minimum_slot_utilization": batching.direct.minimum_slot_utilization,
        "max_candidate_sequences": batching.oldest.max_candidate_sequences,
        "preferred_batch_sizes": list(batching.oldest.preferred_batch_size),
        "controls": [_control(item) for item in batching.control_input],
        "states": [_state(config, state, model_directory) for state in batching.state],
        "iterative": batching.iterative_sequence,
    }


def _control(item: Any) -> dict[str, Any]:
    control = item.control[0]
    pair = next((list(getattr(control, field)) for field in PAIRS if getattr(control, field)), [])
    false_value, true_value = pair or (0, 1)
    return {
        "input_name": item.name,
        "kind": _KINDS[control.kind],
        "type": protocol_type(control_type(control)),
        "false_value": float(false_value),
        "true_value": float(true_value),
    }


def _state(config: ModelConfig, state: Any, model_directory: Path) -> dict[str, Any]:
    initial = state.initial_state[0] if state.initial_state else None
    # Without an initial state Triton starts with one element where the size varies.
    dims = initial.dims if initial else [1 if dim == -1 else dim for dim in state.dims]
    data = b""
    if initial and initial.data_file:
        data = _read_initial(config, initial, model_directory)
    return {
        "input_name": state.input_name,
        "output_name": state.output_name,
        "type": protocol_type(state.data_type),
        "dims": list(state.dims),
        "initial_dims": list(dims),
        "initial_data": data,
    }


def _read_initial(config: ModelConfig, initial: Any, model_directory: Path) -> bytes:
    """The bytes of initial_state/NAME, which are exactly a tensor of the given dims."""
    field = "initial_state data_file"
    folder = inside_directory(model_directory, "initial_state", field)
    path = inside_directory(folder, initial.data_file, field)
    where = f"{field} '{initial.data_file}' of model '{config.name}'"
    elements = math.prod(initial.dims)
    data_type = protocol_type(initial.data_type)
    size = elements * _ELEMENT_BYTES.get(data_type, 0)
    try:
        if data_type != "BYTES" and path.stat().st_size != size:
            raise InvalidArgumentError(
                f"{where} has {path.stat().st_size} bytes, expected {size}: {data_type} of dims "
                f"{list(initial.dims)}"
            )
        data = path.read_bytes()
    except OSError as error:
        raise InvalidArgumentError(f"cannot read {where}: {error}") from None
    if data_type == "BYTES" and _count_strings(data) != elements:
        raise InvalidArgumentError(
            f"{where} must hold {elements} strings, each behind its length as 4 bytes"
        )
    return data


def _count_strings(data: bytes) -> int:
    """How many length-prefixed strings `data` is, or -1 when it is not."""
    offset = count = 0
    while offset < len(data):
        offset += 4 + int.from_bytes(data[offset : offset + 4], "little")
        count += 1
    return count if offset == len(data) else -1
