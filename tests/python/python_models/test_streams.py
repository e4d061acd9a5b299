"""Decoupled models: over a gRPC stream, generate and generate_stream."""

import json
import queue
import socket
import urllib.error
import urllib.request

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from tests.python.python_models.conftest import eventually, infer


def row(*values: float) -> np.ndarray:
    return np.array([values], np.float32)


class Stream:
    """A bidirectional stream; `take` gives the next response or raises its error."""

    def __init__(self, client: grpcclient.InferenceServerClient) -> None:
        self.client = client
        self.answers: queue.Queue = queue.Queue()
        client.start_stream(lambda result, error: self.answers.put((result, error)))

    def send(self, model: str, values: np.ndarray, **more: object) -> None:
        tensor = grpcclient.InferInput("INPUT0", list(values.shape), "FP32")
        self.client.async_stream_infer(model, [tensor.set_data_from_numpy(values)], **more)

    def take(self):
        result, error = self.answers.get(timeout=30)
        if error is not None:
            raise error
        return result

    def value(self) -> float:
        return float(self.take().as_numpy("OUTPUT0")[0, 0])


@pytest.fixture
def stream(grpc):
    yield Stream(grpc)
    grpc.stop_stream(cancel_requests=True)


def is_final(result) -> bool:
    return result.get_response().parameters["triton_final_response"].bool_param


def test_each_response_arrives_in_order(stream):
    stream.send("stream", row(1, 2, 3))
    assert [stream.value() for _ in range(3)] == [1, 2, 3]


def test_the_empty_final_response_comes_to_who_asks_for_it(stream):
    stream.send("stream", row(5), enable_empty_final_response=True, request_id="r")
    first, last = stream.take(), stream.take()
    assert (is_final(first), is_final(last)) == (False, True)
    assert not last.get_response().outputs
    assert last.get_response().id == "r"


def test_no_response_at_all_is_a_response_to_a_request(stream):
    stream.send("stream", np.zeros((1, 0), np.float32), enable_empty_final_response=True)
    assert is_final(stream.take())


def test_errors_come_in_the_stream_and_it_goes_on(stream):
    stream.send("stream", row(1, -1, 2))
    assert stream.value() == 1
    with pytest.raises(InferenceServerException, match="negative -1"):
        stream.take()
    assert stream.value() == 2


def test_ordinary_models_answer_beside_decoupled_ones(stream):
    stream.send("identity", row(9))
    stream.send("stream", row(1))
    assert sorted(stream.value() for _ in range(2)) == [1, 9]


def test_unary_calls_are_refused(protocol):
    with pytest.raises(
        InferenceServerException, match="doesn't support models with decoupled transaction policy"
    ):
        infer(protocol, "stream", row(1))


def test_a_stream_that_is_cancelled_ends_its_senders(grpc, tmp_path):
    path = tmp_path / "sent"
    stream = Stream(grpc)
    stream.send("endless", row(1), parameters={"path": str(path)})
    for _ in range(5):
        stream.take()
    grpc.stop_stream(cancel_requests=True)
    eventually(path.exists)


def post(server, path: str, body: dict):
    request = urllib.request.Request(
        f"http://{server.url('http')}/v2/models/{path}",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    return urllib.request.urlopen(request, timeout=30)


def events(answer) -> list[dict]:
    lines = answer.read().decode().split("\n\n")
    return [json.loads(line.removeprefix("data: ")) for line in lines if line]


def test_a_stream_of_one_array_that_changes_has_each_of_its_values(stream):
    stream.send("in_place_stream", row(0))
    assert [stream.value() for _ in range(4)] == [1, 2, 3, 4]


def test_a_reader_that_stops_does_not_stop_the_other_streams_of_coroutines(server, stream):
    host, port = server.url("http").split(":")
    body = json.dumps({"INPUT0": [600]}).encode()
    with socket.create_connection((host, int(port))) as stopped:
        stopped.sendall(
            b"POST /v2/models/async_stream/generate_stream HTTP/1.1\r\nHost: x\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        assert stopped.recv(1000)
        stream.send("async_stream", row(5))
        assert [stream.value() for _ in range(5)] == [0, 1, 2, 3, 4]


def test_generate_answers_one_response(server):
    with post(server, "doubling/generate", {"INPUT0": [1, 2], "id": "x"}) as answer:
        body = json.loads(answer.read())
    assert body["model_name"] == "doubling"
    assert body["OUTPUT0"] == [2, 4]


def test_generate_of_several_responses_is_an_error(server):
    with pytest.raises(urllib.error.HTTPError) as raised:
        post(server, "stream/generate", {"INPUT0": [1, 2]})
    assert "expects model to produce exactly 1 response" in raised.value.read().decode()


def test_generate_stream_sends_events(server):
    with post(server, "stream/generate_stream", {"INPUT0": [1, 2, 3]}) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert [event["OUTPUT0"] for event in events(answer)] == [1, 2, 3]


def test_a_client_that_resets_an_event_stream_ends_its_sender(server, tmp_path):
    path = tmp_path / "sent"
    host, port = server.url("http").split(":")
    body = json.dumps({"INPUT0": [1], "path": str(path)}).encode()
    with socket.create_connection((host, int(port))) as client:
        client.sendall(
            b"POST /v2/models/endless/generate_stream HTTP/1.1\r\nHost: x\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        assert client.recv(1000)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    eventually(path.exists)
    with post(server, "doubling/generate", {"INPUT0": [1, 2]}) as answer:
        assert answer.status == 200
