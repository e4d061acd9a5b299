"""Ragged batching in a configuration: what is offered, what is refused and with which words."""

import pytest
from fastserve.config.complete import check_signature, complete_config
from fastserve.config.normalize import normalize_config
from fastserve.config.parse import parse_config
from fastserve.config.ragged import batch_io_spec
from fastserve.config.validate import validate_config
from fastserve.errors import InvalidArgumentError

MODEL = """name: "m" backend: "onnxruntime" max_batch_size: 8
input { name: "X" data_type: TYPE_FP32 dims: -1 allow_ragged_batch: true }
output { name: "Y" data_type: TYPE_FP32 dims: -1 }
"""
COUNT = "kind: BATCH_ELEMENT_COUNT data_type: TYPE_INT32"
BATCH_INPUT = f"batch_input {{ {COUNT} target_name: 'N' source_input: 'X' }}"
BATCH_OUTPUT = "batch_output { target_name: 'Y' source_input: 'X' }"
OPTIONAL = "input { name: 'O' data_type: TYPE_FP32 dims: -1 optional: true }"
CONTROL = """sequence_batching { oldest { max_candidate_sequences: 4 } control_input { name: "S"
control { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } } }"""
STATE = """sequence_batching { oldest { max_candidate_sequences: 4 } state { input_name: "YIN"
output_name: "Y" data_type: TYPE_FP32 dims: -1 } }"""
KINDS = [
    "BATCH_ELEMENT_COUNT",
    "BATCH_ACCUMULATED_ELEMENT_COUNT",
    "BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO",
    "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE",
    "BATCH_ITEM_SHAPE",
    "BATCH_ITEM_SHAPE_FLATTEN",
]


def parse(text: str, base: str = MODEL):
    config = parse_config(base + text, "c")
    normalize_config(config)
    return config


def tensor(name: str, dims: list[int], data_type: str = "FP32") -> dict:
    return {"name": name, "data_type": data_type, "dims": dims, "dim_names": []}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("data_type", ["INT32", "FP32"])
def test_every_kind_and_type_of_batch_input_reaches_the_core(kind: str, data_type: str) -> None:
    config = parse(
        f"batch_input {{ kind: {kind} data_type: TYPE_{data_type} target_name: [ 'N', 'M' ]"
        f" source_input: 'X' }} {BATCH_OUTPUT}"
    )
    assert validate_config(config) == []
    assert batch_io_spec(config) == {
        "batch_inputs": [
            {"name": name, "kind": kind, "type": data_type, "source_input": "X"}
            for name in ("N", "M")
        ],
        "batch_outputs": [{"name": "Y", "source_input": "X"}],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch_input { }", "kind BATCH_ELEMENT_COUNT must specify 'target_name'; write batch_in"),
        ("batch_input { kind: 17 }", "kind 17 is unknown; write batch_input"),
        (
            "batch_input { target_name: 'N' data_type: TYPE_INT64 source_input: 'X' }",
            "'N' of kind BATCH_ELEMENT_COUNT must have data type TYPE_INT32 or TYPE_FP32",
        ),
        (f"batch_input {{ {COUNT} target_name: 'N' }}", "'N' .* expects 1 source input, got 0"),
        (
            f"batch_input {{ {COUNT} target_name: 'N' source_input: [ 'X', 'X' ] }}",
            "expects 1 source input, got 2",
        ),
        (
            f"batch_input {{ {COUNT} target_name: 'N' source_input: 'Z' }}",
            "batch input 'N' has unknown source input name 'Z' for m; its inputs are X",
        ),
        (
            f"batch_input {{ {COUNT} target_name: 'X' source_input: 'X' }}",
            "batch input 'X' is the name of another input",
        ),
        (f"{BATCH_INPUT} {BATCH_INPUT}", "batch input 'N' is the name of another input"),
        (
            f"{CONTROL} batch_input {{ {COUNT} target_name: 'S' source_input: 'X' }}",
            "batch input 'S' is the name of another input",
        ),
        (
            f"{OPTIONAL} batch_input {{ {COUNT} target_name: 'N' source_input: 'O' }}",
            "batch input 'N' has source input 'O', which requests may leave out",
        ),
        (
            "batch_output { target_name: 'Z' source_input: 'X' }",
            "unknown target output name 'Z'; write one of Y for m",
        ),
        (f"{BATCH_OUTPUT} {BATCH_OUTPUT}", "target output name 'Y' can only be specified once"),
        ("batch_output { source_input: 'X' }", "batch output must specify 'target_name'"),
        ("batch_output { target_name: 'Y' }", "'Y' expects 1 source input, got 0"),
        ("batch_output { target_name: 'Y' kind: 3 source_input: 'X' }", "kind 3 is unknown"),
        (
            "batch_output { target_name: 'Y' source_input: 'Z' }",
            "batch output 'Y' has unknown source input name 'Z'",
        ),
        (
            "output { name: 'W' data_type: TYPE_FP32 dims: [ 2, -1 ] }"
            " batch_output { target_name: 'W' source_input: 'X' }",
            r"'W' has dims \[2, -1\] for m: the -1 at place 2 .* has only 1 dimensions",
        ),
        (
            "output { name: 'W' data_type: TYPE_FP32 dims: 4 reshape { shape: [ 2, 2 ] } }"
            " batch_output { target_name: 'W' source_input: 'X' }",
            "batch output 'W' has a reshape",
        ),
        (f"{STATE} {BATCH_OUTPUT}", "batch output 'Y' is a state of sequence_batching"),
        (
            "input { name: 'O' data_type: TYPE_FP32 dims: -1 optional: true"
            " allow_ragged_batch: true }",
            "allow_ragged_batch of input 'O' is not supported for an optional input",
        ),
        (
            "sequence_batching { direct { } }",
            "allow_ragged_batch of input 'X' needs the oldest strategy",
        ),
        ("sequence_batching { }", "allow_ragged_batch of input 'X' needs the oldest strategy"),
    ],
)
def test_what_cannot_be_is_refused_and_told_what_to_write(text: str, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        validate_config(parse(text))


@pytest.mark.parametrize("kind", ["BATCH_ITEM_SHAPE", "BATCH_ITEM_SHAPE_FLATTEN"])
def test_item_shapes_need_a_batch(kind: str) -> None:
    base = MODEL.replace("max_batch_size: 8", "max_batch_size: 0")
    item = BATCH_INPUT.replace("BATCH_ELEMENT_COUNT", kind)
    with pytest.raises(InvalidArgumentError, match=f"{kind} .* write max_batch_size above 0"):
        validate_config(parse(item, base))
    assert validate_config(parse(BATCH_INPUT, base)) == []


def test_ragged_inputs_go_with_priorities_oldest_sequences_and_warm_up() -> None:
    dynamic = """dynamic_batching { priority_levels: 2 default_priority_level: 1 }
        model_warmup { name: 'w' batch_size: 2 inputs { key: 'X' value { data_type: TYPE_FP32
        dims: 5 zero_data: true } } }"""
    assert validate_config(parse(BATCH_INPUT + BATCH_OUTPUT + dynamic)) == []
    assert validate_config(parse(BATCH_INPUT + BATCH_OUTPUT + CONTROL)) == []


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("batch_input", BATCH_INPUT),
        ("batch_output", BATCH_OUTPUT),
        ("allow_ragged_batch of input 'X'", ""),
    ],
)
def test_an_ensemble_leaves_ragged_batches_to_its_members(field: str, text: str) -> None:
    base = MODEL.replace('backend: "onnxruntime"', 'platform: "ensemble"')
    if text:
        base = base.replace("allow_ragged_batch: true", "")
    with pytest.raises(InvalidArgumentError, match=f"{field} must not be specified for ensemble"):
        validate_config(parse(f"ensemble_scheduling {{ }} {text}", base))


def check(signature_inputs: list[dict], text: str, base: str = MODEL) -> None:
    signature = {"inputs": signature_inputs, "outputs": [tensor("Y", [-1])]}
    config = parse(text + BATCH_OUTPUT, base)
    complete_config(config, signature, 4)
    check_signature(config, signature)
    validate_config(config)


def test_the_model_file_has_flat_inputs_and_the_batch_inputs() -> None:
    check([tensor("X", [-1]), tensor("N", [-1], "INT32")], BATCH_INPUT)
    shapes = BATCH_INPUT.replace("BATCH_ELEMENT_COUNT", "BATCH_ITEM_SHAPE")
    check([tensor("X", [-1]), tensor("N", [-1, 1], "INT32")], shapes)


@pytest.mark.parametrize(
    ("x", "n", "message"),
    [
        (tensor("X", [-1, -1]), tensor("N", [-1], "INT32"), r"\[-1\] for ragged input 'X', model"),
        (tensor("X", [16]), tensor("N", [-1], "INT32"), r"'X', model provides \[16\]"),
        (
            tensor("X", [-1]),
            tensor("N", [-1], "INT64"),
            "'N': the model expects data type TYPE_INT",
        ),
        (tensor("X", [-1]), tensor("N", [-1, 1], "INT32"), r"'N', model provides \[-1,1\]"),
        (tensor("X", [-1]), tensor("M", [-1], "INT32"), "unexpected inference input 'N'"),
    ],
)
def test_a_model_file_with_other_inputs_is_refused(x: dict, n: dict, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        check([x, n], BATCH_INPUT)


def test_item_shapes_have_as_many_columns_as_the_input_dimensions() -> None:
    shapes = BATCH_INPUT.replace("BATCH_ELEMENT_COUNT", "BATCH_ITEM_SHAPE")
    with pytest.raises(InvalidArgumentError, match=r"'N': .*shape \[-1,2\] but .* \[-1,1\]"):
        check([tensor("X", [-1]), tensor("N", [-1, 2], "INT32")], shapes)


def test_the_dims_of_a_ragged_input_are_not_guessed_from_its_flat_shape() -> None:
    base = MODEL.replace("dims: -1 allow", "allow")
    with pytest.raises(InvalidArgumentError, match="must specify 'dims'"):
        check([tensor("X", [-1])], "", base)


def test_outputs_that_are_left_out_are_completed_but_scattered_ones_need_dims() -> None:
    base = MODEL.replace('output { name: "Y" data_type: TYPE_FP32 dims: -1 }', "")
    with pytest.raises(InvalidArgumentError, match="'Y' has a reshape; write the shape of the res"):
        check([tensor("X", [-1])], "", base)


def test_an_optional_input_may_be_one_that_the_file_has_a_default_for() -> None:
    check([tensor("X", [-1])], OPTIONAL)
