"""Completion of a configuration from a model's signature, and refusal of what contradicts it."""

import pytest
from fastserve.config.complete import check_signature, complete_config
from fastserve.config.normalize import normalize_config
from fastserve.config.parse import config_to_dict, parse_config
from fastserve.config.validate import validate_config
from fastserve.errors import InvalidArgumentError
from hypothesis import given
from hypothesis import strategies as st


def tensor(name: str, dims: list[int], data_type: str = "FP32") -> dict:
    return {"name": name, "data_type": data_type, "dims": dims, "dim_names": []}


BATCHING = {"inputs": [tensor("X", [-1, 16])], "outputs": [tensor("Y", [-1, 4])]}
FIXED = {"inputs": [tensor("X", [2, 16])], "outputs": [tensor("Y", [2, 4])]}


def complete(text: str, signature: dict, default: int = 4) -> dict:
    config = parse_config(f'name: "m" backend: "onnxruntime" {text}', "c")
    normalize_config(config)
    complete_config(config, signature, default)
    normalize_config(config)
    check_signature(config, signature)
    validate_config(config)
    return config_to_dict(config)


def test_without_a_configuration_a_batching_model_gets_batch_size_4_and_dynamic_batching():
    values = complete("", BATCHING)
    assert values["max_batch_size"] == 4
    assert values["dynamic_batching"]["preferred_batch_size"] == [4]
    assert [(t["name"], t["data_type"], t["dims"]) for t in values["input"]] == [
        ("X", "TYPE_FP32", [16])
    ]
    assert values["output"][0]["dims"] == [4]
    assert values["version_policy"] == {"latest": {"num_versions": 1}}
    assert [(g["kind"], g["count"]) for g in values["instance_group"]] == [("KIND_CPU", 2)]


def test_default_max_batch_size_1_means_no_dynamic_batching():
    values = complete("", BATCHING, default=1)
    assert values["max_batch_size"] == 1
    assert "dynamic_batching" not in values


def test_a_model_with_a_fixed_first_dimension_does_not_batch():
    values = complete("", FIXED)
    assert values["max_batch_size"] == 0
    assert values["input"][0]["dims"] == [2, 16]
    assert "dynamic_batching" not in values


def test_a_written_max_batch_size_is_kept_and_batching_is_added():
    values = complete("max_batch_size: 32", BATCHING)
    assert values["max_batch_size"] == 32
    assert values["dynamic_batching"]["preferred_batch_size"] == [32]


def test_a_configuration_with_inputs_and_outputs_is_complete():
    text = """input { name: "X" data_type: TYPE_FP32 dims: [ -1, 16 ] }
              output { name: "Y" data_type: TYPE_FP32 dims: [ -1, 4 ] }"""
    values = complete(text, BATCHING)
    assert values["max_batch_size"] == 0
    assert "dynamic_batching" not in values


def test_types_and_dims_left_out_are_filled_in():
    values = complete('input { name: "X" } output { name: "Y" } max_batch_size: 2', BATCHING)
    assert values["input"][0]["data_type"] == "TYPE_FP32"
    assert values["output"][0]["dims"] == [4]


def test_a_tensor_of_which_only_the_batch_is_left_is_presented_as_one_element():
    signature = {"inputs": [tensor("X", [-1])], "outputs": [tensor("Y", [-1])]}
    values = complete("", signature)
    assert values["input"][0]["dims"] == [1]
    assert values["input"][0]["reshape"] == {"shape": []}


def test_a_scalar_is_presented_as_one_element():
    signature = {"inputs": [tensor("X", [])], "outputs": [tensor("Y", [])]}
    assert complete("", signature)["output"][0]["reshape"] == {"shape": []}


@pytest.mark.parametrize(
    ("text", "signature", "message"),
    [
        (
            "max_batch_size: 8",
            FIXED,
            "model does not support batching while non-zero max_batch_size",
        ),
        (
            'max_batch_size: 8 input { name: "X" data_type: TYPE_FP32 dims: 16 } '
            'output { name: "Y" data_type: TYPE_FP32 dims: 4 }',
            FIXED,
            r"the first dimension must be -1; but shape expected by the model is \[2,16\]",
        ),
        ('input { name: "Z" }', BATCHING, "unexpected inference input 'Z', allowed inputs are: X"),
        ('output { name: "Z" dims: 1 }', BATCHING, "unexpected inference output 'Z'"),
        (
            'input { name: "X" data_type: TYPE_INT8 }',
            BATCHING,
            "the model expects data type TYPE_FP32 but the model configuration specifies TYPE_INT8",
        ),
        (
            'max_batch_size: 1 input { name: "X" dims: [ 1, 16 ] }',
            BATCHING,
            r"expects 2 dimensions \(shape \[-1,16\]\) but .* 3 dimensions .* shape \[-1,1,16\]",
        ),
        (
            'max_batch_size: 1 input { name: "X" dims: 8 }',
            BATCHING,
            r"expects shape \[-1,16\] but the model configuration specifies shape \[-1,8\]",
        ),
        (
            'input { name: "X" } input { name: "W" }',
            BATCHING,
            "configuration expects 2 inputs, model provides 1: X",
        ),
    ],
)
def test_a_configuration_that_contradicts_the_model_is_refused(text, signature, message):
    with pytest.raises(InvalidArgumentError, match=message):
        complete(text, signature)


dims = st.lists(st.one_of(st.just(-1), st.integers(1, 5)), max_size=4)
signatures = st.builds(
    lambda xs, ys: {
        "inputs": [tensor(f"X{i}", d) for i, d in enumerate(xs)],
        "outputs": [tensor(f"Y{i}", d) for i, d in enumerate(ys)],
    },
    st.lists(dims, min_size=1, max_size=3),
    st.lists(dims, min_size=1, max_size=3),
)


@given(signatures, st.integers(0, 16))
def test_what_completion_makes_of_any_model_agrees_with_it_and_is_valid(signature, default):
    values = complete("", signature, default)
    batches = all(t["dims"][:1] == [-1] for t in signature["inputs"] + signature["outputs"])
    assert values["max_batch_size"] == (default if batches else 0)
