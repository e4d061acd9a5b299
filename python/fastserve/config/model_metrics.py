"""`model_metrics`: the buckets that a model wants for a histogram."""

import math
from itertools import pairwise
from typing import Any

from fastserve.config.parse import ModelConfig
from fastserve.errors import InvalidArgumentError

FIRST_RESPONSE_FAMILY = "nv_inference_first_response_histogram_ms"
_MAX_BUCKETS = 1024


def validate_model_metrics(config: ModelConfig) -> None:
    """InvalidArgumentError for buckets that are none."""
    seen: set[str] = set()
    for control in config.model_metrics.metric_control:
        family = control.metric_identifier.family
        where = f"model_metrics of model {config.name}"
        if not family:
            raise InvalidArgumentError(
                f"{where} has a metric_control without a family; write metric_identifier "
                f'{{ family: "{FIRST_RESPONSE_FAMILY}" }}'
            )
        if family in seen:
            raise InvalidArgumentError(f"{where} names the family '{family}' twice")
        seen.add(family)
        _validate_buckets(f"{where}, family '{family}'", list(control.histogram_options.buckets))


def _validate_buckets(where: str, buckets: list[float]) -> None:
    if not buckets:
        raise InvalidArgumentError(
            f"{where} has no buckets; write histogram_options {{ buckets: [ 10, 100, 1000 ] }}"
        )
    if len(buckets) > _MAX_BUCKETS:
        raise InvalidArgumentError(
            f"{where} has {len(buckets)} buckets; at most {_MAX_BUCKETS} are allowed"
        )
    for bucket in buckets:
        if not math.isfinite(bucket):
            raise InvalidArgumentError(
                f"{where} has the bucket {bucket}; write finite numbers, +Inf is always there"
            )
    for low, high in pairwise(buckets):
        if low >= high:
            raise InvalidArgumentError(
                f"{where} has buckets that do not ascend: {low:g} stands before {high:g}"
            )


def families_without_effect(config: ModelConfig) -> list[str]:
    """Families that have no buckets to choose."""
    families = [control.metric_identifier.family for control in config.model_metrics.metric_control]
    return [family for family in families if family != FIRST_RESPONSE_FAMILY]


def model_metrics_spec(config: ModelConfig) -> dict[str, Any]:
    """What the core's ModelSpec has of it."""
    for control in config.model_metrics.metric_control:
        if control.metric_identifier.family == FIRST_RESPONSE_FAMILY:
            return {"first_response_buckets_ms": list(control.histogram_options.buckets)}
    return {}
