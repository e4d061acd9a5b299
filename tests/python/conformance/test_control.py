"""Health, metadata, configuration, statistics, repository and log settings with the official
client.
"""

import base64
import os
import threading
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from tests.python.conformance.conftest import service_of


def as_dict(value: Any) -> Any:
    """gRPC answers as the JSON that HTTP gives."""
    if isinstance(value, dict | list):
        return value
    from google.protobuf import json_format

    return json_format.MessageToDict(value, preserving_proto_field_name=True)


def test_the_server_is_live_and_ready(protocol):
    _, client = protocol
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("identity_fp32")
    assert client.is_model_ready("identity_fp32", "1")
    assert not client.is_model_ready("identity_fp32", "2")
    assert not client.is_model_ready("no_such")


def test_server_metadata_names_the_server_and_its_extensions(protocol):
    _, client = protocol
    metadata = as_dict(client.get_server_metadata())
    assert metadata["name"] == "triton"
    assert metadata["version"]
    assert {"classification", "statistics", "binary_tensor_data"} <= set(metadata["extensions"])


def test_model_metadata_has_the_batch_dimension(protocol):
    _, client = protocol
    metadata = as_dict(client.get_model_metadata("add_sub_fp32"))
    assert metadata["versions"] == ["1"]
    assert metadata["platform"] == "onnxruntime_onnx"
    shapes = {t["name"]: (t["datatype"], [int(d) for d in t["shape"]]) for t in metadata["inputs"]}
    assert shapes == {"INPUT0": ("FP32", [-1, 16]), "INPUT1": ("FP32", [-1, 16])}


def test_model_metadata_of_an_unknown_model_is_not_found(protocol):
    _, client = protocol
    with pytest.raises(
        InferenceServerException, match="Request for unknown model: 'no_such' is not found"
    ):
        client.get_model_metadata("no_such")


def test_the_configuration_is_complete(protocol):
    _, client = protocol
    answer = as_dict(client.get_model_config("add_sub_fp32"))
    config = answer.get("config", answer)
    assert config["max_batch_size"] == 4
    assert config["dynamic_batching"]["preferred_batch_size"] == [4]
    assert config["backend"] == "onnxruntime"
    assert [int(d) for d in config["input"][0]["dims"]] == [16]


def test_http_configuration_prints_64_bit_integers_as_numbers(http):
    config = http.get_model_config("add_sub_fp32")
    assert config["input"][0]["dims"] == [16]
    assert config["dynamic_batching"]["max_queue_delay_microseconds"] == 0


def test_statistics_count_what_was_asked(protocol):
    module, client = protocol

    def count() -> tuple[int, int]:
        (stats,) = as_dict(client.get_inference_statistics("echo"))["model_stats"]
        return int(stats.get("inference_count", 0)), int(
            stats["inference_stats"]["success"].get("count", 0)
        )

    before = count()
    tensor = module.InferInput("INPUT0", [3, 2], "FP32")
    tensor.set_data_from_numpy(np.zeros((3, 2), np.float32))
    client.infer("echo", [tensor])
    after = count()
    assert (after[0] - before[0], after[1] - before[1]) == (3, 1)


def test_statistics_of_all_models_name_them_all(protocol):
    _, client = protocol
    stats = as_dict(client.get_inference_statistics())["model_stats"]
    assert {"echo", "slow", "identity_fp32"} <= {entry["name"] for entry in stats}


def index_of(client) -> dict:
    answer = as_dict(client.get_model_repository_index())
    entries = answer if isinstance(answer, list) else answer["models"]
    return {entry["name"]: (entry.get("state", ""), entry.get("reason", "")) for entry in entries}


def test_unload_and_load_change_the_index(protocol):
    _, client = protocol
    client.unload_model("nobatch")
    assert index_of(client)["nobatch"] == ("UNAVAILABLE", "unloaded")
    assert not client.is_model_ready("nobatch")
    assert client.is_server_ready()
    client.load_model("nobatch")
    assert index_of(client)["nobatch"] == ("READY", "")
    assert client.is_model_ready("nobatch")


def test_an_unknown_model_cannot_be_loaded(protocol):
    _, client = protocol
    with pytest.raises(
        InferenceServerException,
        match="failed to load 'no_such', failed to poll from model repository",
    ):
        client.load_model("no_such")


def test_load_overrides_are_refused_clearly(protocol):
    _, client = protocol
    with pytest.raises(InferenceServerException, match="'config' is not offered yet"):
        client.load_model("echo", config="{}")


def test_reload_under_traffic_loses_no_request(protocol, server, repository):
    module, _ = protocol
    url = server.url(service_of(module))
    stop = threading.Event()
    outcomes: list = []

    def ask() -> None:
        tensor = module.InferInput("INPUT0", [1, 3], "FP32")
        tensor.set_data_from_numpy(np.ones((1, 3), np.float32))
        with module.InferenceServerClient(url) as own:
            while not stop.is_set():
                try:
                    outcomes.append(own.infer("echo", [tensor]).as_numpy("OUTPUT0").tolist())
                except InferenceServerException as error:
                    outcomes.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    with module.InferenceServerClient(url) as admin:
        for _ in range(5):
            path = repository / "echo" / "config.pbtxt"
            later = path.stat().st_mtime_ns + 1_000_000_000
            os.utime(path, ns=(later, later))
            admin.load_model("echo")
    stop.set()
    thread.join()
    assert outcomes
    assert all(outcome == [[1.0, 1.0, 1.0]] for outcome in outcomes)


def test_log_settings_are_read_and_written_but_not_the_file(protocol):
    _, client = protocol
    client.update_log_settings({"log_verbose_level": 1})
    client.update_log_settings({"log_verbose_level": 0, "log_info": True})
    settings = str(client.get_log_settings())
    assert "log_file" in settings
    assert "log_format" in settings
    with pytest.raises(
        InferenceServerException,
        match="log file location can not be updated through network protocol",
    ):
        client.update_log_settings({"log_file": "x.log"})


@pytest.mark.parametrize("kind", ["system", "cuda"])
def test_shared_memory_status_is_answered(protocol, kind):
    _, client = protocol
    status = getattr(client, f"get_{kind}_shared_memory_status")
    assert not as_dict(status())
    with pytest.raises(InferenceServerException) as error:
        status("region")
    assert error.value.message() == f"Unable to find {kind} shared memory region: 'region'"
    assert error.value.status() in ("404", "StatusCode.NOT_FOUND")


def test_shared_memory_cannot_be_registered(protocol):
    _, client = protocol
    for call in (
        lambda: client.register_system_shared_memory("r", "/key", 64),
        lambda: client.register_cuda_shared_memory("r", base64.b64encode(bytes(64)), 0, 64),
        lambda: client.unregister_system_shared_memory(),
        lambda: client.unregister_cuda_shared_memory("r"),
    ):
        with pytest.raises(InferenceServerException, match="Client shared memory is disabled") as e:
            call()
        assert e.value.status() in ("501", "StatusCode.UNIMPLEMENTED")
