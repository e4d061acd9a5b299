"""Writes the defaults into a configuration, as Triton does before it reports or uses it."""

from fastserve.config.ensemble import is_ensemble
from fastserve.config.parse import ModelConfig
from fastserve.config.sequence import normalize_sequence
from fastserve.errors import InvalidArgumentError

KIND_AUTO, KIND_GPU, KIND_CPU, KIND_MODEL = 0, 1, 2, 3

# Triton starts two instances of an ONNX model on the CPU when the configuration does not say how
# many.
_DEFAULT_CPU_COUNT = {"onnxruntime": 2}


def leaves_batching_open(config: ModelConfig) -> bool:
    """True when neither preferred batch sizes nor a queue delay are given: the server tunes both.

    To be asked before the defaults are written in.
    """
    batching = config.dynamic_batching
    return not batching.preferred_batch_size and batching.max_queue_delay_microseconds == 0


def normalize_config(config: ModelConfig) -> list[str]:
    """Fills version_policy, instance_group, batching and optimization defaults in place; returns
    warnings.

    InvalidArgumentError when every instance group needs a GPU: this machine has none.
    """
    if config.version_policy.WhichOneof("policy_choice") is None:
        config.version_policy.latest.num_versions = 1
    if is_ensemble(config):
        return []  # no batches, no instances, nothing to optimize
    if config.HasField("dynamic_batching") and config.max_batch_size > 0:
        preferred = config.dynamic_batching.preferred_batch_size
        if not preferred:
            preferred.append(config.max_batch_size)
    normalize_sequence(config)
    for pinned in ("input_pinned_memory", "output_pinned_memory"):
        if not config.optimization.HasField(pinned):
            getattr(config.optimization, pinned).enable = True
    return _normalize_groups(config)


def _normalize_groups(config: ModelConfig) -> list[str]:
    if not config.instance_group:
        config.instance_group.add(name=config.name)
    if config.HasField("rate_limiter"):
        for group in config.instance_group:
            if not group.HasField("rate_limiter"):
                group.rate_limiter.CopyFrom(config.rate_limiter)
        config.ClearField("rate_limiter")
    for index, group in enumerate(config.instance_group):
        group.name = group.name or f"{config.name}_{index}"
        if group.kind == KIND_AUTO:
            group.kind = KIND_CPU
            del group.gpus[:]
        if group.count < 1:
            group.count = _DEFAULT_CPU_COUNT.get(config.backend, 1) if group.kind == KIND_CPU else 1
    return _drop_gpu_groups(config)


def _drop_gpu_groups(config: ModelConfig) -> list[str]:
    gpu_groups = [group for group in config.instance_group if group.kind == KIND_GPU]
    if not gpu_groups:
        return []
    names = ", ".join(group.name for group in gpu_groups)
    rest = [group for group in config.instance_group if group.kind != KIND_GPU]
    if not rest:
        raise InvalidArgumentError(
            f"instance group {names} of model {config.name} has kind KIND_GPU but no GPUs are "
            "available; "
            "write kind: KIND_CPU, or add a KIND_CPU group as fallback"
        )
    kept = [type(group).FromString(group.SerializeToString()) for group in rest]
    del config.instance_group[:]
    config.instance_group.extend(kept)
    return [f"instance group {names} skipped: it has kind KIND_GPU and no GPUs are available"]
