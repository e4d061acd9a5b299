"""Parsing of config.pbtxt and printing as JSON."""

import json

import pytest
from fastserve.config.parse import config_to_dict, parse_config, read_config
from fastserve.errors import InvalidArgumentError
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

PASTED = """
name: "resnet"
platform: "onnxruntime_onnx"
max_batch_size: 32
input [ { name: "INPUT" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [ 3, 224, 224 ] } ]
output [ { name: "OUTPUT" data_type: TYPE_FP32 dims: [ 1000 ] label_filename: "labels.txt" } ]
dynamic_batching {
  preferred_batch_size: [ 4, 8 ]
  max_queue_delay_microseconds: 200
  default_queue_policy {
    timeout_action: REJECT default_timeout_microseconds: 5000000 max_queue_size: 100
  }
}
version_policy: { latest { num_versions: 2 } }
optimization { execution_accelerators { gpu_execution_accelerator: [ { name: "tensorrt"
  parameters { key: "precision_mode" value: "FP16" } } ] } }
parameters { key: "TRT_ENGINE_CACHE_ENABLE" value: { string_value: "1" } }
"""


def test_a_configuration_from_a_production_guide_parses_and_prints():
    values = config_to_dict(parse_config(PASTED, "config.pbtxt"))
    assert values["dynamic_batching"]["max_queue_delay_microseconds"] == 200
    assert values["input"][0]["dims"] == [3, 224, 224]
    assert values["input"][0]["format"] == "FORMAT_NCHW"
    assert values["dynamic_batching"]["default_queue_policy"]["timeout_action"] == "REJECT"
    assert values["parameters"]["TRT_ENGINE_CACHE_ENABLE"] == {"string_value": "1"}
    accelerator = values["optimization"]["execution_accelerators"]["gpu_execution_accelerator"][0]
    assert accelerator["parameters"] == {"precision_mode": "FP16"}
    json.dumps(values)


def test_defaults_are_printed_and_unset_messages_are_not():
    values = config_to_dict(parse_config('name: "m"', "c"))
    assert values["max_batch_size"] == 0
    assert values["input"] == []
    assert values["metric_tags"] == {}
    assert "dynamic_batching" not in values
    assert "version_policy" not in values


def test_a_syntax_error_names_file_line_and_column():
    with pytest.raises(InvalidArgumentError, match=r"/models/m/config.pbtxt:2:9: .*max_btch"):
        parse_config('name: "m"\ninput { max_btch_size: 4 }', "/models/m/config.pbtxt")


def test_an_unreadable_file_is_an_invalid_argument(tmp_path):
    path = tmp_path / "config.pbtxt"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidArgumentError, match="cannot read the model configuration"):
        read_config(path)


@given(st.text(max_size=200))
def test_any_text_parses_or_is_an_invalid_argument(text):
    try:
        config = parse_config(text, "c")
    except InvalidArgumentError as error:
        message = str(error)
    else:
        message = "cannot parse the model configuration c" + text_format.MessageToString(config)
    assert message.startswith("cannot parse the model configuration c")


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5))
def test_64_bit_integers_are_printed_as_numbers(dims):
    text = f'input {{ name: "x" dims: {dims} }}'
    assert config_to_dict(parse_config(text, "c"))["input"][0]["dims"] == dims
