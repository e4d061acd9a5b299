"""Inference with the official client: every data type over both protocols, and every option of a
request.
"""

import gzip
import json
import queue
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
import tritonclient.http as httpclient
from tritonclient.utils import InferenceServerException

from tests.python.conformance.conftest import TYPES
from tests.python.conformance.samples import JSON_SAMPLES, SAMPLES, same


def infer_identity(module, client, data_type: str, value: np.ndarray, **request):
    tensor = module.InferInput("INPUT0", list(value.shape), data_type)
    tensor.set_data_from_numpy(value)
    return client.infer(f"identity_{TYPES[data_type]}", [tensor], **request)


@pytest.mark.parametrize("data_type", list(TYPES))
def test_every_type_comes_back_as_it_went(protocol, data_type):
    module, client = protocol
    value = SAMPLES[data_type]
    assert same(infer_identity(module, client, data_type, value).as_numpy("OUTPUT0"), value)


@pytest.mark.parametrize("data_type", list(JSON_SAMPLES))
def test_every_type_crosses_json_both_ways(http, data_type):
    value = JSON_SAMPLES[data_type]
    tensor = httpclient.InferInput("INPUT0", list(value.shape), data_type)
    tensor.set_data_from_numpy(value, binary_data=False)
    output = httpclient.InferRequestedOutput("OUTPUT0", binary_data=False)
    result = http.infer(f"identity_{TYPES[data_type]}", [tensor], outputs=[output])
    got = result.as_numpy("OUTPUT0")
    if data_type == "BYTES":
        got = np.array(
            [[text.encode() if isinstance(text, str) else text for text in got[0]]], object
        )
    assert same(got, value)


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_json_and_binary_tensors_mix(http, binary_in, binary_out):
    left, right = np.ones((2, 16), np.int32), np.full((2, 16), 3, np.int32)
    inputs = [httpclient.InferInput(name, [2, 16], "INT32") for name in ("INPUT0", "INPUT1")]
    inputs[0].set_data_from_numpy(left, binary_data=binary_in)
    inputs[1].set_data_from_numpy(right, binary_data=not binary_in)
    outputs = [
        httpclient.InferRequestedOutput("OUTPUT0", binary_data=binary_out),
        httpclient.InferRequestedOutput("OUTPUT1", binary_data=not binary_out),
    ]
    result = http.infer("add_sub_int32", inputs, outputs=outputs)
    assert same(result.as_numpy("OUTPUT0"), left + right)
    assert same(result.as_numpy("OUTPUT1"), left - right)


@pytest.mark.parametrize("compression", ["", "gzip"])
def test_a_raw_binary_request_needs_no_json(server, compression):
    value = np.arange(6, dtype=np.float32)
    body = gzip.compress(value.tobytes()) if compression else value.tobytes()
    headers = {"Inference-Header-Content-Length": "0"}
    if compression:
        headers["Content-Encoding"] = compression
    url = f"http://{server.url('http')}/v2/models/identity_fp32/infer"
    request = urllib.request.Request(url, body, headers, method="POST")
    with urllib.request.urlopen(request, timeout=10) as response:
        json_size = int(response.headers["Inference-Header-Content-Length"])
        answer = response.read()
    output = json.loads(answer[:json_size])["outputs"][0]
    assert output["name"] == "OUTPUT0"
    assert np.array_equal(np.frombuffer(answer[json_size:], np.float32), value)


def test_a_raw_binary_request_to_a_model_of_two_inputs_is_refused(server):
    url = f"http://{server.url('http')}/v2/models/add_sub_fp32/infer"
    headers = {"Inference-Header-Content-Length": "0"}
    request = urllib.request.Request(url, bytes(64), headers, method="POST")
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(request, timeout=10)
    with raised.value as response:
        assert response.code == 400
        assert "must only have 1 input" in json.load(response)["error"]


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_http_compression_works_both_ways(http, algorithm):
    value = np.zeros((1, 10000), np.float32)
    result = infer_identity(
        httpclient,
        http,
        "FP32",
        value,
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )
    assert same(result.as_numpy("OUTPUT0"), value)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_grpc_compression_is_understood(grpc, algorithm):
    import tritonclient.grpc as grpcclient

    value = np.zeros((1, 10000), np.float32)
    result = infer_identity(grpcclient, grpc, "FP32", value, compression_algorithm=algorithm)
    assert same(result.as_numpy("OUTPUT0"), value)


def test_the_request_id_and_the_version_come_back(protocol):
    module, client = protocol
    result = infer_identity(
        module, client, "FP32", SAMPLES["FP32"], request_id="req-001", model_version="1"
    )
    response = result.get_response()
    if isinstance(response, dict):
        found = (response["id"], response["model_name"], response["model_version"])
    else:
        found = (response.id, response.model_name, response.model_version)
    assert found == ("req-001", "identity_fp32", "1")


def test_only_requested_outputs_are_returned(protocol):
    module, client = protocol
    inputs = []
    for name in ("INPUT0", "INPUT1"):
        tensor = module.InferInput(name, [1, 16], "FP32")
        tensor.set_data_from_numpy(np.ones((1, 16), np.float32))
        inputs.append(tensor)
    result = client.infer("add_sub_fp32", inputs, outputs=[module.InferRequestedOutput("OUTPUT1")])
    assert result.as_numpy("OUTPUT0") is None
    assert same(result.as_numpy("OUTPUT1"), np.zeros((1, 16), np.float32))


def test_classification_returns_the_top_classes_with_their_labels(protocol):
    module, client = protocol
    tensor = module.InferInput("INPUT0", [2, 4], "FP32")
    tensor.set_data_from_numpy(np.array([[0, 9, 1, 2], [5, 0, 0, 1]], np.float32))
    result = client.infer(
        "classifier", [tensor], outputs=[module.InferRequestedOutput("OUTPUT0", class_count=2)]
    )
    classes = [[text.decode().split(":")[1:] for text in row] for row in result.as_numpy("OUTPUT0")]
    assert classes == [[["1", "dog"], ["3", "bird"]], [["0", "cat"], ["3", "bird"]]]


def test_strings_are_concatenated(protocol):
    module, client = protocol
    inputs = []
    for name, value in (("INPUT0", [[b"a", b""]]), ("INPUT1", [["ü".encode()]])):
        array = np.array(value, np.object_)
        tensor = module.InferInput(name, list(array.shape), "BYTES")
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    result = client.infer("strings", inputs).as_numpy("OUTPUT0")
    assert result.tolist() == [[b"a", b"", "ü".encode()]]


def test_models_without_batches_dynamic_shapes_and_empty_tensors_work(protocol):
    module, client = protocol
    for name, value, expected in (
        ("nobatch", np.arange(12, dtype=np.float32).reshape(3, 4), (4, 3)),
        ("dynamic", np.zeros((2, 3, 5), np.float32), (2, 5, 3)),
        ("identity_fp32", np.zeros((1, 0), np.float32), (1, 0)),
    ):
        tensor = module.InferInput("INPUT0", list(value.shape), "FP32")
        tensor.set_data_from_numpy(value)
        assert client.infer(name, [tensor]).as_numpy("OUTPUT0").shape == expected


def test_a_hundred_requests_in_flight_all_get_their_own_answer(grpc):
    import queue

    import tritonclient.grpc as grpcclient

    answers: queue.Queue = queue.Queue()
    for number in range(100):
        tensor = grpcclient.InferInput("INPUT0", [1, 4], "INT32")
        tensor.set_data_from_numpy(np.full((1, 4), number, np.int32))
        grpc.async_infer(
            "identity_int32",
            [tensor],
            callback=lambda result, error, number=number: answers.put((number, result, error)),
            request_id=str(number),
        )
    for _ in range(100):
        number, result, error = answers.get(timeout=60)
        assert error is None
        assert result.get_response().id == str(number)
        assert result.as_numpy("OUTPUT0").tolist() == [[number] * 4]


def test_http_async_requests_all_get_their_own_answer(server):
    with httpclient.InferenceServerClient(server.url("http"), concurrency=32) as client:
        pending = []
        for number in range(100):
            tensor = httpclient.InferInput("INPUT0", [1, 4], "INT32")
            tensor.set_data_from_numpy(np.full((1, 4), number, np.int32))
            pending.append(client.async_infer("identity_int32", [tensor]))
        for number, request in enumerate(pending):
            assert request.get_result().as_numpy("OUTPUT0").tolist() == [[number] * 4]


def test_a_stream_answers_every_request_and_reports_errors(grpc):
    import queue

    import tritonclient.grpc as grpcclient

    answers: queue.Queue = queue.Queue()
    grpc.start_stream(callback=lambda result, error: answers.put((result, error)))
    for number in range(50):
        tensor = grpcclient.InferInput("INPUT0", [1, 2], "INT32")
        tensor.set_data_from_numpy(np.full((1, 2), number, np.int32))
        grpc.async_stream_infer("identity_int32", [tensor], request_id=str(number))
    seen = {}
    for _ in range(50):
        result, error = answers.get(timeout=60)
        assert error is None
        seen[result.get_response().id] = result.as_numpy("OUTPUT0").tolist()
    assert seen == {str(number): [[number, number]] for number in range(50)}
    grpc.async_stream_infer("no_such_model", [tensor])
    result, error = answers.get(timeout=60)
    assert "Request for unknown model: 'no_such_model' is not found" in error.message()
    grpc.stop_stream()


def test_a_client_timeout_ends_the_request_and_not_the_server(grpc):
    import tritonclient.grpc as grpcclient

    tensor = grpcclient.InferInput("INPUT0", [1, 2], "FP32")
    tensor.set_data_from_numpy(np.zeros((1, 2), np.float32))
    with pytest.raises(InferenceServerException, match="Deadline Exceeded"):
        grpc.infer("slow", [tensor], client_timeout=0.05)
    assert grpc.is_server_live()
    assert grpc.infer("slow", [tensor], client_timeout=30.0).as_numpy("OUTPUT0").shape == (1, 2)


def test_urgent_requests_overtake(grpc):
    """Behind a running request, level 1 is answered before level 3 that came earlier."""
    tensor = grpcclient.InferInput("INPUT0", [1, 2], "FP32")
    tensor.set_data_from_numpy(np.zeros((1, 2), np.float32))
    answers: queue.Queue[str] = queue.Queue()

    def send(name: str, priority: int) -> None:
        def answered(result, error):
            answers.put(name if error is None else str(error))

        grpc.async_infer("priorities", [tensor], answered, priority=priority)

    send("first", 2)
    time.sleep(0.05)
    send("low", 3)
    time.sleep(0.05)
    send("default", 0)
    send("high", 1)
    assert [answers.get(timeout=30) for _ in range(4)] == ["first", "high", "default", "low"]
