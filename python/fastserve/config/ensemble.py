"""Ensembles in a configuration: platform, steps, maps. The graph itself (who writes and who reads
each tensor, cycles, the members' data types and shapes) is checked by the core when it loads.
"""

from collections.abc import Callable
from typing import Any

from fastserve.config.parse import ModelConfig
from fastserve.errors import InvalidArgumentError, UnsupportedError

ENSEMBLE = "ensemble"

# The configuration of another model of the repository; None when nothing is known of it.
ConfigFinder = Callable[[str], ModelConfig | None]


def is_ensemble(config: ModelConfig) -> bool:
    """Whether the configuration asks for an ensemble, well or badly."""
    return bool(
        config.WhichOneof("scheduling_choice") == "ensemble_scheduling"
        or ENSEMBLE in (config.platform, config.backend)
    )


def resolve_ensemble(config: ModelConfig) -> None:
    """Fills platform as Triton reports it (backend stays empty), and refuses what only a model with
    a backend can have.
    """
    if not config.HasField("ensemble_scheduling"):
        raise InvalidArgumentError(
            f"ensemble scheduling must be set for ensemble '{config.name}'; write "
            "ensemble_scheduling { step [ ... ] }"
        )
    if config.platform not in ("", ENSEMBLE) or config.backend not in ("", ENSEMBLE):
        raise InvalidArgumentError(
            f"ensemble scheduling cannot be set for model '{config.name}' whose platform is "
            f"'{config.platform or config.backend}'; write platform: \"ensemble\""
        )
    for field, is_set in (
        ("instance_group", bool(config.instance_group)),
        ("optimization", config.HasField("optimization")),
        ("rate_limiter", config.HasField("rate_limiter")),
        # It would answer for a member that has been replaced since.
        ("response_cache", config.response_cache.enable),
    ):
        if is_set:
            raise InvalidArgumentError(
                f"{field} must not be specified for ensemble '{config.name}'; write it in the "
                "configurations of its members"
            )
    config.platform, config.backend = ENSEMBLE, ""


def validate_ensemble(config: ModelConfig) -> None:
    """Refuses steps that are not complete, with what to write."""
    steps = config.ensemble_scheduling.step
    if not steps:
        raise InvalidArgumentError(
            f"must specify 'step' for ensemble '{config.name}'; write ensemble_scheduling "
            '{ step [ { model_name: "..." model_version: -1 input_map { ... } '
            "output_map { ... } } ] }"
        )
    for number, step in enumerate(steps, 1):
        _validate_step(step, f"step {number} of ensemble '{config.name}'")


def _validate_step(step: Any, where: str) -> None:
    if not step.model_name:
        raise InvalidArgumentError(
            f"must specify 'model_name' in {where}; write model_name: \"...\""
        )
    where = f"{where} (model '{step.model_name}')"
    if step.model_namespace:
        raise UnsupportedError(
            f"the field model_namespace in {where} is not offered yet; remove it"
        )
    if step.model_version < -1:
        raise InvalidArgumentError(
            f"model_version of {where} is {step.model_version}; write a version, or -1 for the "
            "newest"
        )
    for field, tensors in (("input_map", step.input_map), ("output_map", step.output_map)):
        if not tensors:
            raise InvalidArgumentError(
                f"must specify '{field}' in {where}; write "
                f'{field} {{ key: "THE MODEL\'S TENSOR" value: "an ensemble tensor" }}'
            )
        for name, tensor in tensors.items():
            if not name or not tensor:
                raise InvalidArgumentError(
                    f"{field} in {where} maps '{name}' to '{tensor}'; write both names"
                )


def ensemble_spec(config: ModelConfig) -> dict[str, Any]:
    """The core's EnsembleSpec."""
    scheduling = config.ensemble_scheduling
    return {
        "max_inflight_requests": scheduling.max_inflight_requests,
        "steps": [
            {
                "model_name": step.model_name,
                "model_version": step.model_version or -1,
                "input_map": dict(step.input_map),
                "output_map": dict(step.output_map),
            }
            for step in scheduling.step
        ],
    }


def member_names(config: ModelConfig) -> list[str]:
    """The models that the steps name, each once, in the order of the steps."""
    return list(dict.fromkeys(step.model_name for step in config.ensemble_scheduling.step))


def derive_decoupled(config: ModelConfig, config_of: ConfigFinder) -> None:
    """An ensemble is decoupled when one of its members is, or theirs, as in Triton."""
    found = {str(config.name)}
    waiting = member_names(config)
    while waiting and not config.model_transaction_policy.decoupled:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        member = config_of(name)
        if member is None:
            continue
        if member.model_transaction_policy.decoupled:
            config.model_transaction_policy.decoupled = True
        waiting += member_names(member)
