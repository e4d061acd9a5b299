"""Warm-up samples run on every instance before the model is ready, and are not counted."""

import numpy as np
import pytest
from fastserve.errors import FastserveError
from fastserve.inference_server import InferenceServer

from tests.python.conftest import IDENTITY_CONFIG, write_model

SAMPLE = """model_warmup {{ name: "rows" batch_size: 4 count: 2
    inputs {{ key: "INPUT0" value {{ data_type: TYPE_FP32 dims: 2 {source} }} }} }}"""


@pytest.mark.parametrize(
    "source", ["zero_data: true", "random_data: true", 'input_data_file: "row"']
)
def test_a_warm_model_serves_and_counts_only_requests(tmp_path, source):
    model = write_model(tmp_path, "warm", IDENTITY_CONFIG + SAMPLE.format(source=source))
    (model / "warmup").mkdir()
    (model / "warmup/row").write_bytes(np.ones(2, np.float32).tobytes())
    with InferenceServer(tmp_path) as server:
        server.infer("warm", {"INPUT0": np.zeros((1, 2), np.float32)})
        assert 'nv_inference_exec_count{model="warm",version="1"} 1' in server.metrics_text()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ('input_data_file: "row"', "needs 8 bytes, .*row has 3"),
        ('input_data_file: "none"', "there is no .*none"),
        ('input_data_file: "../config.pbtxt"', "leaves the model's directory"),
    ],
)
def test_a_sample_that_cannot_run_keeps_the_model_from_loading(tmp_path, source, message):
    model = write_model(tmp_path, "cold", IDENTITY_CONFIG + SAMPLE.format(source=source))
    (model / "warmup").mkdir()
    (model / "warmup/row").write_bytes(b"123")
    server = InferenceServer(tmp_path)
    with pytest.raises(FastserveError, match=message):
        server.start()
    server.close()


def test_a_warmup_folder_that_is_elsewhere_keeps_the_model_from_loading(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "row").write_bytes(bytes(8))
    sample = SAMPLE.format(source='input_data_file: "row"')
    repository = tmp_path / "models"
    model = write_model(repository, "cold", IDENTITY_CONFIG + sample)
    (model / "warmup").symlink_to(elsewhere)
    server = InferenceServer(repository)
    with pytest.raises(FastserveError, match="'warmup' leaves the model's directory"):
        server.start()
    server.close()
