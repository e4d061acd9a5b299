"""Validation: what is refused, with which words, and what only earns a warning."""

import pytest
from fastserve.config.normalize import normalize_config
from fastserve.config.parse import parse_config
from fastserve.config.validate import validate_config
from fastserve.errors import InvalidArgumentError, UnsupportedError

GOOD = """name: "m" backend: "onnxruntime" max_batch_size: 8
input { name: "X" data_type: TYPE_FP32 dims: 4 } output { name: "Y" data_type: TYPE_FP32 dims: 4 }
"""


def validate(text: str, base: str = GOOD) -> list[str]:
    config = parse_config(base + text, "c")
    return normalize_config(config) + validate_config(config)


def test_a_plain_configuration_is_valid_without_a_warning():
    assert validate("") == []
    assert validate("dynamic_batching { preferred_batch_size: [ 4, 8 ] }") == []
    assert validate("dynamic_batching { preserve_ordering: true }") == []
    assert validate("dynamic_batching { default_priority_level: 7 }") == []
    guide = """dynamic_batching { preferred_batch_size: [4, 8] max_queue_delay_microseconds: 200
        priority_levels: 3 default_priority_level: 2 default_queue_policy { timeout_action: REJECT
        default_timeout_microseconds: 5000000 allow_timeout_override: true max_queue_size: 100 }
        priority_queue_policy { key: 3 value { timeout_action: DELAY max_queue_size: 7 } } }"""
    assert validate(guide) == []


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("model_repository_agents { agents { name: 'a' } }", "model_repository_agents"),
        ("model_operations { op_library_filename: 'a.so' }", "op_library_filename"),
        ("runtime: 'x.so'", "runtime"),
    ],
)
def test_a_field_that_changes_answers_is_refused_by_name_while_not_offered(text, field):
    with pytest.raises(UnsupportedError, match=f"{field}.* not offered yet"):
        validate(text)


def test_a_decoupled_model_needs_a_backend_that_can_answer_more_than_once():
    decoupled = "model_transaction_policy { decoupled: true }"
    refusal = "decoupled: true } is not offered yet for backend 'onnxruntime'"
    with pytest.raises(UnsupportedError, match=refusal):
        validate(decoupled)
    repeat = GOOD.replace("onnxruntime", "repeat")
    assert validate(decoupled, repeat) == []
    sequences = "sequence_batching { iterative_sequence: true }"
    python = GOOD.replace("onnxruntime", "python")
    assert validate(decoupled + sequences, python) == []
    for text, backend in (
        ("sequence_batching { }", python),
        (sequences, repeat),
        (sequences.replace("}", "state [ { } ] }"), python),
    ):
        with pytest.raises(UnsupportedError, match="not offered yet for sequence_batching with"):
            validate(decoupled + text, backend)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("optimization { cuda { graphs: true } }", "optimization.cuda"),
        ("optimization { input_pinned_memory { enable: false } }", "pinned memory"),
        ("optimization { eager_batching: true }", "eager_batching"),
        ("optimization { priority: PRIORITY_MAX }", "optimization.priority"),
        ("instance_group { kind: KIND_CPU secondary_devices: [ { } ] }", "secondary_devices"),
    ],
)
def test_a_performance_hint_earns_one_warning(text, field):
    (warning,) = validate(text)
    assert field in warning
    assert "has no effect" in warning


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dynamic_batching { preferred_batch_size: 0 }", "preferred size must be positive for m"),
        (
            "dynamic_batching { preferred_batch_size: 9 }",
            "preferred size must be <= max batch size for m",
        ),
        ("input { name: 'X' data_type: TYPE_FP32 dims: 4 }", "'X' is given twice.*; remove one of"),
        ("input { data_type: TYPE_FP32 dims: 4 }", "must specify 'name'"),
        ("input { name: 'Z' dims: 4 }", "must specify 'data_type'.*write data_type: TYPE_"),
        ("input { name: 'Z' data_type: TYPE_FP32 }", r"must specify 'dims'.*write dims: \[ ... \]"),
        (
            "input { name: 'Z' data_type: TYPE_FP32 dims: 0 }",
            "dimension must be integer >= 1, or -1",
        ),
        (
            "output { name: 'Z' data_type: TYPE_FP32 dims: -2 }",
            "dimension must be integer >= 1, or -1",
        ),
        (
            "input { name: 'Z' data_type: TYPE_FP32 dims: 4 format: FORMAT_NHWC }",
            r"NHWC/NCHW require 3 dims for m; 'Z' has dims \[4\]; write three of them",
        ),
        (
            "input { name: 'Z' data_type: TYPE_FP32 dims: 4 is_shape_tensor: true }",
            "shape tensors are only supported for TensorRT platform for m; remove is_shape_tensor "
            "from input 'Z'",
        ),
        (
            "output { name: 'Z' data_type: TYPE_FP32 dims: 4 is_shape_tensor: true }",
            "shape tensors are only supported .* remove is_shape_tensor from output 'Z'",
        ),
        (
            "input { name: 'Z' data_type: TYPE_FP32 dims: 4 is_non_linear_format_io: true }",
            "non-linear formats are only .* remove is_non_linear_format_io from input 'Z'",
        ),
        (
            "output { name: 'Z' data_type: TYPE_FP32 dims: 4 is_non_linear_format_io: true }",
            "non-linear formats are only .* remove is_non_linear_format_io from output 'Z'",
        ),
        (
            "input { name: 'Z' data_type: TYPE_FP32 dims: [ 2, 3 ] reshape { shape: 5 } }",
            r"different size for dims and reshape for m: 'Z' .*reshape \[5\]; write a reshape",
        ),
        (
            "instance_group { kind: KIND_CPU gpus: 0 }",
            "has kind KIND_CPU but specifies one or more GPUs",
        ),
        ("instance_group { kind: KIND_CPU profile: '1' }", "only supported for TensorRT"),
        (
            "model_warmup { name: 'w' batch_size: 9 }",
            "'w' of model m: batch_size must be at most",
        ),
        ("model_warmup { name: 'w' count: 100001 }", "count must be at most 100000, got 100001"),
        (
            "model_warmup { inputs { key: 'Z' value { zero_data: true } } }",
            "has no input 'Z'; it has X",
        ),
        (
            "model_warmup { inputs { key: 'X' value { data_type: TYPE_FP32 dims: 4 } } }",
            "input 'X' must have zero_data: true, random_data: true or input_data_file",
        ),
        (
            "model_warmup { inputs { key: 'X' value { zero_data: true dims: 4 } } }",
            "input 'X' must specify 'data_type'",
        ),
        (
            "model_warmup { inputs { key: 'X' value { zero_data: true data_type: TYPE_FP32"
            " dims: -1 } } }",
            "dims must be fixed and at least 1",
        ),
        (
            "dynamic_batching { priority_levels: 3 }",
            r"default priority level must be in range \[1, 3\] for m; got 0",
        ),
        (
            "dynamic_batching { priority_levels: 3 default_priority_level: 4 }",
            r"default priority level must be in range \[1, 3\] for m; got 4",
        ),
        (
            "dynamic_batching { priority_levels: 2 default_priority_level: 1"
            " priority_queue_policy { key: 3 value { } } }",
            r"priority level in range \[1, 2\] for m; got 3",
        ),
        ("dynamic_batching { priority_levels: 4000000000 }", "at most 1024 for m; got 4000000000"),
        (
            "dynamic_batching { preserve_ordering: true priority_levels: 2"
            " default_priority_level: 1 }",
            "Only one priority level is allowed when 'preserve_ordering' is true for m",
        ),
        (
            "dynamic_batching { preserve_ordering: true default_queue_policy"
            " { timeout_action: DELAY default_timeout_microseconds: 5 } }",
            "can not have DELAY as timeout action when 'preserve_ordering' is true for m; write "
            "timeout_action: REJECT",
        ),
    ],
)
def test_a_wrong_configuration_is_refused_and_told_what_to_write(text, message):
    with pytest.raises(InvalidArgumentError, match=message):
        validate(text)


def test_without_inputs_the_message_shows_how_to_write_them():
    with pytest.raises(InvalidArgumentError, match=r"at least one input for m; write input \["):
        validate("", 'name: "m"')


def test_gpu_groups_are_skipped_with_a_warning_when_a_cpu_group_is_there():
    config = parse_config(
        GOOD
        + "instance_group [ { kind: KIND_GPU gpus: 0 count: 2 }, { kind: KIND_CPU count: 3 } ]",
        "c",
    )
    (warning,) = normalize_config(config)
    assert "m_0" in warning
    assert "KIND_GPU" in warning
    assert [(group.name, group.count) for group in config.instance_group] == [("m_1", 3)]


def test_only_gpu_groups_are_refused_with_what_to_write():
    with pytest.raises(InvalidArgumentError, match="no GPUs are available; write kind: KIND_CPU"):
        validate("instance_group { kind: KIND_GPU }")


@pytest.mark.parametrize(
    "groups",
    [
        "instance_group { passive: true }",
        "instance_group { passive: true } instance_group { kind: KIND_CPU passive: true }",
        "instance_group { passive: true } instance_group { kind: KIND_GPU }",
    ],
)
def test_a_model_without_an_active_group_is_refused(groups):
    with pytest.raises(InvalidArgumentError, match="write passive: false in one of them"):
        validate(groups)
    validate(groups + " instance_group { kind: KIND_CPU }")


def test_all_groups_together_have_a_limited_number_of_instances():
    assert validate("instance_group { count: 1000 } instance_group { count: 24 }") == []
    with pytest.raises(InvalidArgumentError, match="add up to at most 1024; got 1025"):
        validate("instance_group { count: 1000 } instance_group { count: 25 }")


def test_an_automatic_group_runs_on_the_cpu():
    config = parse_config(GOOD + "instance_group { count: 1 }", "c")
    normalize_config(config)
    assert [(group.kind, group.count) for group in config.instance_group] == [(2, 1)]


def test_a_negative_max_batch_size_is_refused():
    with pytest.raises(
        InvalidArgumentError, match=r"'max_batch_size' must be non-negative .* m; write 0"
    ):
        validate("", GOOD.replace("max_batch_size: 8", "max_batch_size: -1"))
