"""Checks a complete configuration. A message says what to write; texts that clients match on are
Triton's.

Three verdicts: wrong (InvalidArgumentError), known but not offered yet and able to change answers
(UnsupportedError that names the field), and a pure performance hint (a warning, returned).
"""

from collections.abc import Iterator
from typing import Any

from fastserve.config.backends import ANSWER_ONCE
from fastserve.config.ensemble import is_ensemble, validate_ensemble
from fastserve.config.model_metrics import families_without_effect, validate_model_metrics
from fastserve.config.normalize import KIND_CPU
from fastserve.config.parse import ModelConfig
from fastserve.config.ragged import (
    validate_batch_inputs,
    validate_batch_sources,
    validate_ragged_inputs,
)
from fastserve.config.sequence import validate_sequence_strategy, validate_sequence_tensors
from fastserve.config.warmup import validate_warmup
from fastserve.errors import InvalidArgumentError, UnsupportedError

# Beyond any real use; each level costs the queue a few bytes and a look.
_MAX_PRIORITY_LEVELS = 1024
# Each instance is a thread and its own memory.
_MAX_INSTANCES = 1024


def validate_config(config: ModelConfig) -> list[str]:
    """Returns warnings about fields that have no effect."""
    refuse_unoffered(config)
    if config.max_batch_size < 0:
        raise InvalidArgumentError(
            f"'max_batch_size' must be non-negative value for {config.name}; write 0 for a model "
            "that does not batch"
        )
    _validate_tensors(config, config.input, "input")
    _validate_tensors(config, config.output, "output")
    _validate_batching(config)
    validate_ragged_inputs(config)
    validate_batch_inputs(config)
    validate_batch_sources(config)
    validate_sequence_tensors(config)
    validate_sequence_strategy(config)
    _validate_groups(config)
    validate_warmup(config)
    _validate_response_cache(config)
    validate_model_metrics(config)
    if is_ensemble(config):
        validate_ensemble(config)
    hints = list(_hints(config))
    return [f"{', '.join(hints)} of model '{config.name}' has no effect here"] if hints else []


def _unoffered(config: ModelConfig) -> Iterator[str]:
    flags: list[tuple[str, Any]] = [
        ("model_repository_agents", config.model_repository_agents.agents),
        ("model_operations.op_library_filename", config.model_operations.op_library_filename),
        ("runtime", config.runtime),
    ]
    yield from (name for name, is_set in flags if is_set)


def _answers_once(config: ModelConfig) -> str:
    """What of the configuration cannot be decoupled; else ""."""
    if config.WhichOneof("scheduling_choice") == "sequence_batching":
        if config.backend == "repeat" or not config.sequence_batching.iterative_sequence:
            return "sequence_batching without iterative_sequence"
        if config.sequence_batching.state:
            return "sequence_batching with state"
    return f"backend '{config.backend}'" if config.backend in ANSWER_ONCE else ""


def refuse_unoffered(config: ModelConfig) -> None:
    """UnsupportedError naming the first field that would change answers and is not offered yet."""
    if config.model_transaction_policy.decoupled and (what := _answers_once(config)):
        raise UnsupportedError(
            f"model '{config.name}': model_transaction_policy {{ decoupled: true }} is not offered "
            f"yet for {what}; remove it"
        )
    for field in _unoffered(config):
        raise UnsupportedError(
            f"model '{config.name}': the field {field} is not offered yet; remove it"
        )


def _hints(config: ModelConfig) -> Iterator[str]:
    optimization = config.optimization
    pinned_off = not is_ensemble(config) and not (
        optimization.input_pinned_memory.enable and optimization.output_pinned_memory.enable
    )
    flags: list[tuple[str, Any]] = [
        ("optimization.cuda", optimization.HasField("cuda")),
        ("optimization.execution_accelerators", optimization.HasField("execution_accelerators")),
        ("optimization pinned memory", pinned_off),
        ("optimization.priority", optimization.priority),
        (
            "optimization.gather_kernel_buffer_threshold",
            optimization.gather_kernel_buffer_threshold,
        ),
        ("optimization.eager_batching", optimization.eager_batching),
        ("cc_model_filenames", config.cc_model_filenames),
        # Its members warm themselves up; Triton ignores this in silence.
        (
            "model_warmup (an ensemble has no instances)",
            is_ensemble(config) and config.model_warmup,
        ),
        (
            "instance_group.secondary_devices",
            any(group.secondary_devices for group in config.instance_group),
        ),
    ]
    yield from (name for name, is_set in flags if is_set)
    for family in families_without_effect(config):
        yield f"model_metrics of the family '{family}'"


def _validate_tensors(config: ModelConfig, tensors: Any, kind: str) -> None:
    if not tensors:
        raise InvalidArgumentError(
            f"must specify at least one {kind} for {config.name}; write {kind} "
            '[ { name: "..." data_type: TYPE_FP32 dims: [ ... ] } ]'
        )
    seen: set[str] = set()
    for tensor in tensors:
        if tensor.name in seen:
            raise InvalidArgumentError(
                f"model {kind} '{tensor.name}' is given twice for {config.name}; remove one of "
                "the two, or give it a name of its own"
            )
        seen.add(tensor.name)
        _validate_tensor(config, tensor, kind)


def _validate_tensor(config: ModelConfig, tensor: Any, kind: str) -> None:
    if reason := _wrong_with_tensor(tensor):
        raise InvalidArgumentError(f"model {kind} {reason} for {config.name}")
    if kind == "input" and tensor.format and len(tensor.dims) != 3:
        raise InvalidArgumentError(
            f"model input NHWC/NCHW require 3 dims for {config.name}; '{tensor.name}' has dims "
            f"{list(tensor.dims)}; write three of them, without the batch dimension, or remove "
            "format"
        )
    if tensor.is_shape_tensor or tensor.is_non_linear_format_io:
        what = "shape tensors" if tensor.is_shape_tensor else "non-linear formats"
        field = "is_shape_tensor" if tensor.is_shape_tensor else "is_non_linear_format_io"
        raise InvalidArgumentError(
            f"{what} are only supported for TensorRT platform for {config.name}; remove {field} "
            f"from {kind} '{tensor.name}'"
        )
    if tensor.HasField("reshape"):
        _validate_reshape(config, tensor, kind)


def _wrong_with_tensor(tensor: Any) -> str:
    """What to write, when the tensor is not complete or not possible; else ""."""
    if not tensor.name:
        return "must specify 'name'"
    if tensor.data_type == 0:
        return f"must specify 'data_type'; write data_type: TYPE_... in '{tensor.name}'"
    if not tensor.dims:
        return f"must specify 'dims'; write dims: [ ... ] in '{tensor.name}'"
    bad = [dim for dim in tensor.dims if dim < 1 and dim != -1]
    if bad:
        return (
            "dimension must be integer >= 1, or -1 to indicate a variable-size dimension; "
            f"'{tensor.name}' has {bad[0]}"
        )
    return ""


def _validate_reshape(config: ModelConfig, tensor: Any, kind: str) -> None:
    shape = list(tensor.reshape.shape)
    if any(dim < 1 and dim != -1 for dim in shape):
        raise InvalidArgumentError(
            f"model {kind} reshape dimensions must be integer >= 1, or -1 to indicate a "
            "variable-size dimension "
            f"for {config.name}"
        )
    if _elements(tensor.dims) != _elements(shape) or list(tensor.dims).count(-1) != shape.count(-1):
        raise InvalidArgumentError(
            f"model {kind} has different size for dims and reshape for {config.name}: "
            f"'{tensor.name}' has dims {list(tensor.dims)} and reshape {shape}; write a reshape "
            "of as many elements and as many -1 as dims, or remove reshape"
        )


def _elements(dims: Any) -> int:
    product = 1
    for dim in dims:
        product *= 1 if dim == -1 else dim
    return product


def _validate_batching(config: ModelConfig) -> None:
    if not config.HasField("dynamic_batching"):
        return
    for size in config.dynamic_batching.preferred_batch_size:
        if size <= 0:
            raise InvalidArgumentError(
                f"dynamic batching preferred size must be positive for {config.name}; got {size}"
            )
        if size > config.max_batch_size:
            raise InvalidArgumentError(
                f"dynamic batching preferred size must be <= max batch size for {config.name}; "
                f"got {size} with max_batch_size {config.max_batch_size}"
            )
    _validate_priorities(config)
    if config.dynamic_batching.preserve_ordering:
        _validate_ordering(config)


def _validate_priorities(config: ModelConfig) -> None:
    batching = config.dynamic_batching
    levels = batching.priority_levels
    if levels > _MAX_PRIORITY_LEVELS:
        raise InvalidArgumentError(
            f"priority_levels must be at most {_MAX_PRIORITY_LEVELS} for {config.name}; "
            f"got {levels}"
        )
    if levels and not 1 <= batching.default_priority_level <= levels:
        raise InvalidArgumentError(
            f"default priority level must be in range [1, {levels}] for {config.name}; got "
            f"{batching.default_priority_level}"
        )
    for level in batching.priority_queue_policy:
        if levels and not 1 <= level <= levels:
            raise InvalidArgumentError(
                f"priority queue policy must have priority level in range [1, {levels}] for "
                f"{config.name}; got {level}"
            )


def _validate_ordering(config: ModelConfig) -> None:
    batching = config.dynamic_batching
    if batching.priority_levels > 1:
        raise InvalidArgumentError(
            "Only one priority level is allowed when 'preserve_ordering' is true for "
            f"{config.name}; got {batching.priority_levels}; write priority_levels: 1, or remove "
            "one of the two"
        )
    policies = [batching.default_queue_policy, *batching.priority_queue_policy.values()]
    if any(_delays(policy) for policy in policies):
        raise InvalidArgumentError(
            "Queue policy can not have DELAY as timeout action when 'preserve_ordering' is true "
            f"for {config.name}; write timeout_action: REJECT, or remove "
            "default_timeout_microseconds or preserve_ordering"
        )


def _delays(policy: Any) -> bool:
    return bool(policy.timeout_action == 1 and policy.default_timeout_microseconds)


def _validate_response_cache(config: ModelConfig) -> None:
    """A response that depends on more than its request cannot be cached."""
    if not config.response_cache.enable:
        return
    reason = ""
    if config.WhichOneof("scheduling_choice") == "sequence_batching":
        reason = "sequence_batching, whose responses depend on the requests before"
    elif config.model_transaction_policy.decoupled:
        reason = "model_transaction_policy { decoupled: true }, which has no single response"
    if reason:
        raise InvalidArgumentError(
            f"response cache does not support {reason}, for {config.name}; remove "
            "response_cache { enable: true }"
        )


def _validate_groups(config: ModelConfig) -> None:
    groups = config.instance_group
    if groups and all(group.passive for group in groups):
        raise InvalidArgumentError(
            f"every instance group of model {config.name} is passive, so that none would answer "
            "requests; write passive: false in one of them"
        )
    count = sum(group.count for group in groups)
    if count > _MAX_INSTANCES:
        raise InvalidArgumentError(
            f"the counts of the instance groups of model {config.name} must add up to at most "
            f"{_MAX_INSTANCES}; got {count}"
        )
    for group in groups:
        where = f"instance group {group.name} of model {config.name}"
        if group.gpus:
            kind = "KIND_CPU" if group.kind == KIND_CPU else "KIND_MODEL"
            raise InvalidArgumentError(
                f"{where} has kind {kind} but specifies one or more GPUs; remove gpus"
            )
        if group.profile:
            raise InvalidArgumentError(
                f"{where} and platform {config.platform} specifies profile field which is only "
                "supported for "
                "TensorRT models"
            )
