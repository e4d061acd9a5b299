"""sequence_batching: defaults, what is refused and with which words, and what the core is told."""

from pathlib import Path
from typing import Any

import pytest
from fastserve.config.complete import check_signature, complete_config
from fastserve.config.normalize import normalize_config
from fastserve.config.parse import ModelConfig, parse_config
from fastserve.config.sequence_spec import sequence_batching_spec
from fastserve.config.validate import validate_config
from fastserve.errors import InvalidArgumentError

GOOD = """name: "m" backend: "onnxruntime" max_batch_size: 8
input { name: "X" data_type: TYPE_FP32 dims: 4 } output { name: "Y" data_type: TYPE_FP32 dims: 4 }
"""
START = '{ name: "S" control { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } }'
STATE = 'input_name: "in" output_name: "out" data_type: TYPE_FP32 dims: [ -1, 2 ]'
IN, OUT, OTHER, NONE = '"in"', '"out"', '"other"', '"none"'


def config_of(batching: str) -> ModelConfig:
    config = parse_config(f"{GOOD} sequence_batching {{ {batching} }}", "c")
    normalize_config(config)
    return config


def spec_of(batching: str, directory: Path = Path("/none")) -> dict[str, Any]:
    config = config_of(batching)
    assert validate_config(config) == []
    return sequence_batching_spec(config, directory)


def test_defaults_are_those_of_triton():
    batching = config_of("").sequence_batching
    assert batching.HasField("direct")
    assert batching.max_sequence_idle_microseconds == 1_000_000
    oldest = config_of("oldest { max_candidate_sequences: 4 }").sequence_batching.oldest
    assert list(oldest.preferred_batch_size) == [8]


def test_the_core_is_told_every_option():
    spec = spec_of(
        "max_sequence_idle_microseconds: 5 iterative_sequence: true oldest { "
        "max_candidate_sequences: 9 preferred_batch_size: [ 2, 4 ] "
        "max_queue_delay_microseconds: 7 preserve_ordering: true }"
    )
    assert spec == {
        "oldest": True,
        "max_sequence_idle_us": 5,
        "max_queue_delay_us": 7,
        "minimum_slot_utilization": 0.0,
        "max_candidate_sequences": 9,
        "preferred_batch_sizes": [2, 4],
        "controls": [],
        "states": [],
        "iterative": True,
    }
    direct = spec_of("direct { max_queue_delay_microseconds: 3 minimum_slot_utilization: 0.5 }")
    assert (direct["max_queue_delay_us"], direct["minimum_slot_utilization"]) == (3, 0.5)


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        ("CONTROL_SEQUENCE_START int32_false_true: [ 2, 3 ]", ("START", "INT32", 2, 3)),
        ("CONTROL_SEQUENCE_READY fp32_false_true: [ 0.5, 1 ]", ("READY", "FP32", 0.5, 1)),
        ("CONTROL_SEQUENCE_END bool_false_true: [ false, true ]", ("END", "BOOL", 0, 1)),
        ("CONTROL_SEQUENCE_CORRID data_type: TYPE_STRING", ("CORRID", "BYTES", 0, 1)),
        ("CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64", ("CORRID", "UINT64", 0, 1)),
    ],
)
def test_a_control_becomes_its_kind_type_and_values(control, expected):
    spec = spec_of(f'control_input {{ name: "C" control {{ kind: {control} }} }}')
    (told,) = spec["controls"]
    assert tuple(told.values()) == ("C", *expected)


@pytest.mark.parametrize(
    ("control_input", "message"),
    [
        ("{ control { } }", "control tensor must have a name"),
        ('{ name: "X" control { } }', "tensor 'X' is an input already; remove one"),
        ('{ name: "S" }', "tensor 'S' must have exactly one control, got 0; write control"),
        (f"{START} control_input {START}", "'S' is a control input already"),
        (
            f"{START} control_input {START.replace('S', 'T', 1)}",
            "'T' is a second CONTROL_SEQUENCE_START; keep one of each kind",
        ),
        ('{ name: "S" control { } }', "must specify either 'int32_false_true'.* got none"),
        (
            '{ name: "S" control { int32_false_true: [ 0, 1 ] fp32_false_true: [ 0, 1 ] } }',
            "got int32_false_true, fp32_false_true; write int32_false_true",
        ),
        (
            '{ name: "S" control { kind: CONTROL_SEQUENCE_READY bool_false_true: [ true ] } }',
            "CONTROL_SEQUENCE_READY of 'S': 'bool_false_true' must have exactly 2 entries.*got 1; "
            r"write bool_false_true: \[ false, true \]",
        ),
        (
            '{ name: "S" control { int32_false_true: [ 0, 1 ] data_type: TYPE_INT32 } }',
            "must not specify 'data_type'",
        ),
        (
            '{ name: "I" control { kind: CONTROL_SEQUENCE_CORRID } }',
            "must specify 'data_type' as one of TYPE_UINT64, .*TYPE_STRING; write",
        ),
        (
            '{ name: "I" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_FP32 } }',
            "must specify 'data_type' as one of",
        ),
        (
            '{ name: "I" control { kind: CONTROL_SEQUENCE_CORRID int32_false_true: [ 0, 1 ] } }',
            "must not specify int32_false_true; write data_type: TYPE_UINT64",
        ),
    ],
)
def test_a_wrong_control_is_named_with_what_to_write(control_input, message):
    with pytest.raises(InvalidArgumentError, match=message):
        validate_config(config_of(f"control_input {control_input}"))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("", "must specify 'input_name'"),
        ('input_name: "in"', "must specify 'output_name'"),
        (STATE.replace(IN, '"X"'), "'X' is an input already; remove one of the two"),
        (f"{STATE} }} state {{ {STATE}", "'in' is a state input already"),
        (
            f"{STATE} }} state {{ {STATE.replace(IN, OTHER)}",
            "output 'out' is given twice; keep one",
        ),
        ('input_name: "in" output_name: "out"', "must specify 'data_type'"),
        ('input_name: "in" output_name: "out" data_type: TYPE_FP32', "must specify 'dims'"),
        (STATE.replace("-1", "0"), "has dimension 0; write one >= 1, or -1"),
        (f"{STATE} initial_state {{ }} initial_state {{ }}", "is given 2 times; keep one"),
        (f"{STATE} initial_state {{ }}", "must have the 'data_type' of its state"),
        (
            f"{STATE} initial_state {{ data_type: TYPE_FP32 dims: [ -1, 2 ] zero_data: true }}",
            r"has dims \[-1, 2\], which must be fixed and fit the state's \[-1, 2\]",
        ),
        (
            f"{STATE} initial_state {{ data_type: TYPE_FP32 dims: [ 1, 2 ] }}",
            "must say what it holds; write zero_data: true or data_file",
        ),
        (
            STATE.replace("-1, 2", "-1, 268435456"),
            "'in' has dims .*, expected at most 268435455 elements with max_batch_size 8",
        ),
        (
            f"{STATE} initial_state {{ data_type: TYPE_FP32 dims: [ 134217728, 2 ] "
            "zero_data: true }",
            r"has dims \[134217728, 2\], expected at most 268435455 elements",
        ),
    ],
)
def test_a_wrong_state_is_named_with_what_to_write(state, message):
    with pytest.raises(InvalidArgumentError, match=message):
        validate_config(config_of(f"state {{ {state} }}"))


@pytest.mark.parametrize(
    ("batching", "message"),
    [
        ("direct { minimum_slot_utilization: 1.5 }", "must be between 0 and 1 for m; got 1.5"),
        ("direct { minimum_slot_utilization: nan }", "must be between 0 and 1 for m; got nan"),
        ("oldest { }", "max_candidate_sequences must be positive for m; got 0"),
        (
            "oldest { max_candidate_sequences: 4 preferred_batch_size: 9 }",
            "preferred batch size must be positive and <= max batch size for m; got 9",
        ),
    ],
)
def test_limits_of_the_strategies(batching, message):
    with pytest.raises(InvalidArgumentError, match=message):
        validate_config(config_of(batching))


def test_initial_states_come_from_zeros_or_a_file_of_the_right_size(tmp_path):
    initial = f'{STATE} initial_state {{ data_type: TYPE_FP32 dims: [ 1, 2 ] data_file: "f" }}'
    (tmp_path / "initial_state").mkdir()
    (tmp_path / "initial_state/f").write_bytes(bytes(range(8)))
    (state,) = spec_of(f"state {{ {initial} }}", tmp_path)["states"]
    assert state["initial_data"] == bytes(range(8))
    (tmp_path / "initial_state/f").write_bytes(b"short")
    with pytest.raises(InvalidArgumentError, match=r"'f' of model 'm' has 5 bytes, expected 8"):
        spec_of(f"state {{ {initial} }}", tmp_path)
    (state,) = spec_of(f"state {{ {STATE} }}")["states"]
    assert (state["initial_dims"], state["initial_data"]) == ([1, 2], b"")


@pytest.mark.parametrize("content", [b"", b"\x01\0\0", b"\x01\0\0\0", b"\x01\0\0\0ab"])
def test_a_file_of_strings_must_hold_whole_strings(tmp_path, content):
    (tmp_path / "initial_state").mkdir()
    (tmp_path / "initial_state/f").write_bytes(content)
    with pytest.raises(InvalidArgumentError, match="must hold 1 strings"):
        spec_of(
            'state { input_name: "in" output_name: "out" data_type: TYPE_STRING dims: [ 1 ] '
            'initial_state { data_type: TYPE_STRING dims: [ 1 ] data_file: "f" } }',
            tmp_path,
        )


@pytest.mark.parametrize("name", ["../f", "/etc/passwd", "../../x", "missing"])
def test_an_initial_state_comes_from_its_folder(tmp_path, name):
    (tmp_path / "f").write_bytes(bytes(8))
    (tmp_path / "initial_state").mkdir()
    with pytest.raises(InvalidArgumentError, match="initial_state data_file"):
        spec_of(
            f"state {{ {STATE} initial_state {{ data_type: TYPE_FP32 dims: [ 1, 2 ] "
            f'data_file: "{name}" }} }}',
            tmp_path,
        )


def _tensor(name: str, data_type: str, dims: list[int]) -> dict[str, Any]:
    return {"name": name, "data_type": data_type, "dims": dims, "dim_names": []}


SIGNATURE = {
    "inputs": [
        _tensor("X", "FP32", [-1, 4]),
        _tensor("S", "INT32", [-1, 1]),
        _tensor("in", "FP32", [-1, -1, 2]),
    ],
    "outputs": [_tensor("Y", "FP32", [-1, 4]), _tensor("out", "FP32", [-1, -1, 2])],
}


def test_completion_leaves_controls_and_states_out():
    config = parse_config(
        f'name: "m" sequence_batching {{ control_input {START} state {{ {STATE} }} }}', "c"
    )
    complete_config(config, SIGNATURE, 4)
    check_signature(config, SIGNATURE)
    assert [tensor.name for tensor in config.input] == ["X"]
    assert [tensor.name for tensor in config.output] == ["Y"]
    assert config.max_batch_size == 4


@pytest.mark.parametrize(
    ("batching", "message"),
    [
        (f"state {{ {STATE} }}", "configuration expects 2 inputs, model provides 3: S, X, in"),
        (
            f"control_input {START.replace('int32', 'fp32')} state {{ {STATE} }}",
            "tensor 'S': the model expects data type TYPE_INT32 but .* specifies TYPE_FP32",
        ),
        (
            f"control_input {START} state {{ {STATE.replace('-1, 2', '3, 3')} }}",
            r"tensor 'in': the model expects shape \[-1,-1,2\]",
        ),
        (
            f"control_input {START} state {{ {STATE.replace(OUT, NONE)} }}",
            "unexpected inference output 'none'",
        ),
    ],
)
def test_controls_and_states_must_be_those_of_the_model_file(batching, message):
    with pytest.raises(InvalidArgumentError, match=message):
        check_signature(config_of(batching), SIGNATURE)
