"""The configuration of an ensemble: what is filled in, what is refused, what the core is told."""

from pathlib import Path

import pytest
from fastserve.config.backends import resolve_backend
from fastserve.config.ensemble import derive_decoupled
from fastserve.config.normalize import normalize_config
from fastserve.config.parse import ModelConfig, parse_config
from fastserve.config.spec import model_spec
from fastserve.config.validate import validate_config
from fastserve.errors import InvalidArgumentError, UnsupportedError

TENSORS = """name: "e" max_batch_size: 4
input { name: "IN" data_type: TYPE_FP32 dims: 4 }
output { name: "OUT" data_type: TYPE_FP32 dims: 4 }
"""
STEP = """step { model_name: "m" model_version: 3
  input_map { key: "X" value: "IN" } output_map { key: "Y" value: "OUT" } }
"""


def resolve(text: str) -> ModelConfig:
    config = parse_config(TENSORS + text, "c")
    resolve_backend(config, None)
    assert normalize_config(config) == []
    assert validate_config(config) == []
    return config


@pytest.mark.parametrize("head", ["", 'platform: "ensemble"', 'backend: "ensemble"'])
def test_platform_is_reported_as_triton_does(head):
    config = resolve(f"{head} ensemble_scheduling {{ {STEP} }}")
    assert (config.platform, config.backend) == ("ensemble", "")
    assert not config.instance_group
    assert config.version_policy.latest.num_versions == 1


def test_the_core_is_told_the_steps_and_no_file(tmp_path: Path):
    config = resolve(f"ensemble_scheduling {{ {STEP} max_inflight_requests: 7 }}")
    spec = model_spec(config, 1, tmp_path, {})
    assert (spec["backend"], spec["path"]) == ("", "")
    assert spec["ensemble"] == {
        "max_inflight_requests": 7,
        "steps": [
            {
                "model_name": "m",
                "model_version": 3,
                "input_map": {"X": "IN"},
                "output_map": {"Y": "OUT"},
            }
        ],
    }


@pytest.mark.parametrize("version", ["", "model_version: -1", "model_version: 0"])
def test_a_step_without_a_version_uses_the_newest(tmp_path: Path, version: str):
    step = STEP.replace("model_version: 3", version)
    spec = model_spec(resolve(f"ensemble_scheduling {{ {step} }}"), 1, tmp_path, {})
    assert spec["ensemble"]["steps"][0]["model_version"] == -1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('platform: "ensemble"', r"must be set for ensemble 'e'; write ensemble_scheduling \{"),
        (
            f'platform: "onnxruntime_onnx" ensemble_scheduling {{ {STEP} }}',
            "whose platform is 'onnxruntime_onnx'; write platform",
        ),
        (
            f'backend: "identity" ensemble_scheduling {{ {STEP} }}',
            "whose platform is 'identity'; write platform",
        ),
        (
            f"instance_group {{ count: 2 }} ensemble_scheduling {{ {STEP} }}",
            "instance_group must not be specified for ensemble 'e'",
        ),
        (
            f"optimization {{ }} ensemble_scheduling {{ {STEP} }}",
            "optimization must not be specified for ensemble 'e'",
        ),
        (
            f"rate_limiter {{ }} ensemble_scheduling {{ {STEP} }}",
            "rate_limiter must not be specified for ensemble 'e'",
        ),
        (
            f"response_cache {{ enable: true }} ensemble_scheduling {{ {STEP} }}",
            "response_cache must not be specified for ensemble 'e'; write it in the configurations "
            "of its members",
        ),
        ("ensemble_scheduling { }", "must specify 'step' for ensemble 'e'; write"),
        (
            f"ensemble_scheduling {{ {STEP} step {{ }} }}",
            "must specify 'model_name' in step 2 of ensemble 'e'; write model_name",
        ),
        (
            "ensemble_scheduling { step { model_name: 'm' } }",
            r"must specify 'input_map' in step 1 of ensemble 'e' \(model 'm'\); write input_map",
        ),
        (
            "ensemble_scheduling { step { model_name: 'm' input_map { key: 'X' value: 'IN' } } }",
            "must specify 'output_map' in step 1",
        ),
        (
            "ensemble_scheduling { " + STEP.replace('value: "OUT"', "") + " }",
            "output_map in step 1 .* maps 'Y' to ''; write both names",
        ),
        (
            "ensemble_scheduling { " + STEP.replace("3", "-2") + " }",
            "model_version of step 1 .* is -2; write a version, or -1",
        ),
    ],
)
def test_a_wrong_ensemble_is_refused_and_told_what_to_write(text, message):
    with pytest.raises(InvalidArgumentError, match=message):
        resolve(text)


def test_a_namespace_is_refused_by_name_while_not_offered():
    step = STEP.replace('"m"', '"m" model_namespace: "n"')
    with pytest.raises(UnsupportedError, match=r"model_namespace in step 1 .* not offered yet"):
        resolve(f"ensemble_scheduling {{ {step} }}")


def test_a_warmup_is_accepted_and_said_to_have_no_effect():
    sample = """model_warmup { name: "w" inputs { key: "IN" value {
      data_type: TYPE_FP32 dims: 4 zero_data: true } } }"""
    config = parse_config(f"{TENSORS} ensemble_scheduling {{ {STEP} }} {sample}", "c")
    resolve_backend(config, None)
    assert normalize_config(config) == []
    assert validate_config(config) == [
        "model_warmup (an ensemble has no instances) of model 'e' has no effect here"
    ]


DECOUPLED = "model_transaction_policy { decoupled: true }"


def step_of(member: str) -> str:
    return "ensemble_scheduling { " + STEP.replace('"m"', f'"{member}"') + " }"


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"m": DECOUPLED}, True),
        ({"m": ""}, False),
        ({}, False),
        ({"m": step_of("inner"), "inner": DECOUPLED}, True),
        ({"m": step_of("inner"), "inner": step_of("m")}, False),
        ({"m": step_of("e")}, False),
    ],
)
def test_an_ensemble_is_decoupled_when_a_member_is(known, expected):
    config = parse_config(f"{TENSORS} ensemble_scheduling {{ {STEP} }}", "c")
    members = {name: parse_config(text, name) for name, text in known.items()}
    derive_decoupled(config, members.get)
    assert config.model_transaction_policy.decoupled is expected


def test_an_ensemble_may_say_itself_that_it_is_decoupled(tmp_path: Path):
    config = resolve(f"{DECOUPLED} ensemble_scheduling {{ {STEP} }}")
    derive_decoupled(config, lambda _name: None)
    assert model_spec(config, 1, tmp_path, {})["decoupled"] is True
