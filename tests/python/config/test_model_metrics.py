"""`model_metrics`: what is refused, and what reaches the core."""

import pytest
from fastserve.config.model_metrics import model_metrics_spec
from fastserve.config.normalize import normalize_config
from fastserve.config.parse import parse_config
from fastserve.config.validate import validate_config
from fastserve.errors import InvalidArgumentError

GOOD = """name: "m" backend: "onnxruntime" max_batch_size: 8
input { name: "X" data_type: TYPE_FP32 dims: 4 } output { name: "Y" data_type: TYPE_FP32 dims: 4 }
"""
FAMILY = "nv_inference_first_response_histogram_ms"


def control(buckets: str, family: str = FAMILY) -> str:
    return (
        f'metric_control {{ metric_identifier {{ family: "{family}" }} '
        f"histogram_options {{ buckets: [ {buckets} ] }} }}"
    )


def parse(*controls: str):
    return parse_config(GOOD + f"model_metrics {{ {' '.join(controls)} }}", "c")


def validate(*controls: str) -> list[str]:
    config = parse(*controls)
    return normalize_config(config) + validate_config(config)


def test_buckets_reach_the_core():
    assert validate(control("0.5, 10, 1000")) == []
    assert model_metrics_spec(parse(control("0.5, 10, 1000"))) == {
        "first_response_buckets_ms": [0.5, 10, 1000]
    }
    assert model_metrics_spec(parse()) == {}


def test_a_family_without_choice_earns_a_warning():
    (warning,) = validate(control("1", "nv_inference_count"))
    assert "model_metrics of the family 'nv_inference_count' of model 'm' has no effect" in warning


@pytest.mark.parametrize(
    ("controls", "message"),
    [
        ([control("1", "")], 'without a family; write metric_identifier { family: "nv_inference'),
        ([control("")], "has no buckets; write histogram_options"),
        (["metric_control { metric_identifier { family: 'x' } }"], "'x' has no buckets"),
        ([control("1, 1")], "do not ascend: 1 stands before 1"),
        ([control("100, 10")], "do not ascend: 100 stands before 10"),
        ([control("1, inf")], "has the bucket inf; write finite numbers"),
        ([control("nan")], "has the bucket nan"),
        ([control("1"), control("2")], "twice"),
        ([control(", ".join(map(str, range(1025))))], "has 1025 buckets; at most 1024"),
    ],
)
def test_buckets_that_are_none_are_refused_with_what_to_write(controls, message):
    with pytest.raises(InvalidArgumentError, match=message):
        validate(*controls)
