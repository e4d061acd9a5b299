"""A model directory, with a real ONNX file, to what is loaded."""

from collections.abc import Callable
from pathlib import Path

import fastserve
import numpy as np
import pytest
from fastserve.config.resolve import ConfigSettings, resolve_model
from fastserve.errors import FastserveError, InternalError

from tests.models.repository import write_repository

VALUE = {"INPUT0": np.ones((1, 16), np.float32)}


@pytest.fixture
def serve(tmp_path: Path) -> Callable[..., fastserve.InferenceServer]:
    """Serves the model `tiny` with the given configuration."""
    servers = []

    def start(config: str | None = None, **flags) -> fastserve.InferenceServer:
        write_repository(tmp_path, ["tiny"])
        if config is not None:
            (tmp_path / "tiny" / "config.pbtxt").write_text(config)
        servers.append(fastserve.InferenceServer(tmp_path, **flags))
        return servers[-1].start()

    yield start
    for server in servers:
        server.close()


def test_without_a_configuration_the_model_is_served_as_triton_does(serve):
    server = serve()
    config = server.model_config("tiny")
    assert (config["name"], config["platform"], config["backend"]) == (
        "tiny",
        "onnxruntime_onnx",
        "onnxruntime",
    )
    assert config["max_batch_size"] == 4
    assert config["default_model_filename"] == "model.onnx"
    assert config["dynamic_batching"]["preferred_batch_size"] == [4]
    assert config["optimization"]["input_pinned_memory"] == {"enable": True}
    assert server.infer("tiny", VALUE)["OUTPUT0"].tolist() == [[2.0] * 16]


def test_the_default_batch_size_comes_from_the_command_line(serve):
    server = serve(backend_config=["default-max-batch-size=16"])
    assert server.model_config("tiny")["max_batch_size"] == 16


def test_the_backends_own_setting_wins(serve):
    flags = ["default-max-batch-size=16", "onnxruntime,default-max-batch-size=2"]
    assert serve(backend_config=flags).model_config("tiny")["max_batch_size"] == 2


def test_a_partial_configuration_is_completed(serve):
    server = serve("max_batch_size: 32 dynamic_batching { max_queue_delay_microseconds: 100 }")
    config = server.model_config("tiny")
    assert config["dynamic_batching"]["preferred_batch_size"] == [32]
    assert config["dynamic_batching"]["max_queue_delay_microseconds"] == 100
    assert [tensor["name"] for tensor in config["input"]] == ["INPUT0"]


def test_without_completion_a_configuration_is_needed(serve):
    with pytest.raises(InternalError, match=r"switched off; write .*config.pbtxt"):
        serve(disable_auto_complete_config=True)


def test_without_completion_nothing_is_filled_in(serve):
    with pytest.raises(InternalError, match="at least one input for tiny; write input"):
        serve('backend: "onnxruntime" max_batch_size: 4', strict_model_config=True)


def test_a_named_configuration_is_used_where_it_exists(serve, tmp_path):
    (tmp_path / "tiny" / "configs").mkdir(parents=True)
    (tmp_path / "tiny" / "configs" / "small.pbtxt").write_text("max_batch_size: 2")
    server = serve("max_batch_size: 8", model_config_name="small")
    assert server.model_config("tiny")["max_batch_size"] == 2
    server = serve("max_batch_size: 8", model_config_name="other")
    assert server.model_config("tiny")["max_batch_size"] == 8


def test_a_name_that_is_not_the_directorys_is_refused(serve):
    with pytest.raises(InternalError, match="directory name must equal model name"):
        serve('name: "other"')


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('default_model_filename: "../../secret.onnx"', "default_model_filename"),
        ('default_model_filename: "/etc/passwd"', "default_model_filename"),
        ('default_model_filename: "link.onnx"', "default_model_filename"),
        ('default_model_filename: "none.onnx"', "failed to find the model file"),
        (
            'output { name: "OUTPUT0" label_filename: "../labels.txt" }',
            "label_filename '../labels.txt' leaves",
        ),
        (
            'output { name: "OUTPUT0" label_filename: "labels.txt" }',
            "cannot read the label_filename",
        ),
    ],
)
def test_a_file_outside_the_models_directory_is_refused(serve, tmp_path, config, message):
    (tmp_path / "tiny" / "1").mkdir(parents=True)
    outside = tmp_path.parent / f"{tmp_path.name}_secret.onnx"
    outside.write_bytes(b"x")
    (tmp_path / "tiny" / "1" / "link.onnx").symlink_to(outside)
    with pytest.raises(InternalError, match=message):
        serve(f'backend: "onnxruntime" {config}')


def test_every_version_of_the_policy_is_served(serve, tmp_path):
    for version in (1, 2, 3):
        write_repository(tmp_path, ["tiny"], version=version)
    server = serve("version_policy { specific { versions: [ 1, 3 ] } }")
    assert server.model_metadata("tiny")["versions"] == ["1", "3"]
    assert server.infer("tiny", VALUE).model_version == 3
    assert server.infer("tiny", VALUE, model_version=1).model_version == 1
    with pytest.raises(FastserveError, match="'tiny' version 2 is not found"):
        server.infer("tiny", VALUE, model_version=2)


def test_the_newest_version_alone_is_served_without_a_policy(serve, tmp_path):
    write_repository(tmp_path, ["tiny"], version=10)
    write_repository(tmp_path, ["tiny"], version=9)
    assert serve().model_metadata("tiny")["versions"] == ["10"]


def test_a_file_that_is_no_model_is_named(serve, tmp_path):
    (tmp_path / "tiny" / "7").mkdir(parents=True)
    (tmp_path / "tiny" / "7" / "model.onnx").write_bytes(b"no model")
    with pytest.raises(InternalError, match="tiny"):
        serve()


def test_a_load_is_tried_again_as_often_as_asked(serve, capfd):
    with pytest.raises(InternalError):
        serve('default_model_filename: "none.onnx"', model_load_retry_count=2)
    assert capfd.readouterr().err.count("failed, trying again") == 2


@pytest.mark.parametrize(
    ("batching", "tuned"),
    [
        ("dynamic_batching { }", True),
        ("dynamic_batching { default_queue_policy { max_queue_size: 9 } }", True),
        ("dynamic_batching { preferred_batch_size: 4 }", False),
        ("dynamic_batching { max_queue_delay_microseconds: 100 }", False),
        ("", False),
    ],
)
def test_batching_is_tuned_when_neither_sizes_nor_a_delay_are_given(tmp_path, batching, tuned):
    directory = tmp_path / "m"
    (directory / "1").mkdir(parents=True)
    text = 'backend: "identity" max_batch_size: 4 '
    tensor = "{ name: %r data_type: TYPE_FP32 dims: [ 1 ] }"
    text += f"input [ {tensor % 'INPUT0'} ] output [ {tensor % 'OUTPUT0'} ] {batching}"
    (directory / "config.pbtxt").write_text(text)
    resolved = resolve_model("m", directory, ConfigSettings(), lambda _: {})
    spec = resolved.specs[0].get("dynamic_batching", {})
    assert spec.get("self_tuning", False) is tuned
