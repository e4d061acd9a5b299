"""Ensembles with a decoupled Python model among their members."""

import json
import urllib.error

import fastserve
import numpy as np
import pytest
import tritonclient.grpc as grpcclient
import tritonclient.http as httpclient
from tritonclient.utils import InferenceServerException

from tests.python.python_models.conftest import eventually, infer
from tests.python.python_models.models import MODELS, write_python_model
from tests.python.python_models.test_streams import Stream, events, is_final, post, row

# What "streaming" does with a value: doubled, sent on its own, plus one.
CHAIN = ("doubling", "stream", "awaiting", "streaming")


@pytest.fixture
def stream(grpc):
    yield Stream(grpc)
    grpc.stop_stream(cancel_requests=True)


def decoupled(client: httpclient.InferenceServerClient, model: str) -> bool:
    config = client.get_model_config(model)
    return bool(config.get("model_transaction_policy", {}).get("decoupled"))


def test_each_response_of_the_member_is_a_response_of_the_ensemble(stream):
    stream.send("streaming", row(1, 2, 3), enable_empty_final_response=True, request_id="r")
    assert [stream.value() for _ in range(3)] == [3, 5, 7]
    last = stream.take()
    assert is_final(last)
    assert not last.get_response().outputs
    assert (last.get_response().id, last.get_response().model_name) == ("r", "streaming")


def test_no_response_of_the_member_is_an_empty_stream(stream):
    stream.send("streaming", np.zeros((1, 0), np.float32), enable_empty_final_response=True)
    assert is_final(stream.take())


def test_many_responses_keep_their_order(stream):
    values = np.arange(500, dtype=np.float32)
    stream.send("streaming", values.reshape(1, -1))
    assert [stream.value() for _ in values] == (values * 2 + 1).tolist()


def test_the_ensemble_is_decoupled_because_its_member_is(http):
    assert decoupled(http, "streaming")
    assert decoupled(http, "streaming_nested")
    assert not decoupled(http, "pipeline")


def test_unary_calls_are_refused(protocol):
    with pytest.raises(
        InferenceServerException, match="doesn't support models with decoupled transaction policy"
    ):
        infer(protocol, "streaming", row(1))


def test_an_ensemble_of_a_streaming_ensemble_streams(stream):
    stream.send("streaming_nested", row(1, 2))
    assert [stream.value() for _ in range(2)] == [6, 10]


def test_an_error_of_the_member_comes_behind_its_responses(stream):
    stream.send("streaming", row(1, 2, -1, 4))
    assert [stream.value() for _ in range(2)] == [3, 5]
    with pytest.raises(InferenceServerException, match="in ensemble 'streaming', negative -2"):
        stream.take()
    stream.send("streaming", row(6))
    assert stream.value() == 13, "nothing came behind the error"


def test_two_decoupled_members_in_one_request_are_refused(stream):
    stream.send("streaming_twice", row(1))
    with pytest.raises(
        InferenceServerException,
        match=r"step 1 \(model 'stream'\) and step 2 \(model 'in_place_stream'\) are both",
    ):
        stream.take()


def test_generate_stream_sends_events_and_generate_one_response(server):
    with post(server, "streaming/generate_stream", {"INPUT0": [1, 2, 3]}) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert [event["OUTPUT0"] for event in events(answer)] == [3, 5, 7]
    with post(server, "streaming/generate", {"INPUT0": [4]}) as answer:
        assert json.loads(answer.read())["OUTPUT0"] == 9
    with pytest.raises(urllib.error.HTTPError) as raised:
        post(server, "streaming/generate", {"INPUT0": [1, 2]})
    assert "expects model to produce exactly 1 response" in raised.value.read().decode()


def test_a_model_calls_it_as_any_decoupled_one(protocol):
    assert infer(protocol, "summing_streaming", row(1, 2)).as_numpy("OUTPUT0")[0, 0] == 8


def test_a_stream_that_is_cancelled_ends_the_senders_of_the_member(grpc, tmp_path):
    path = tmp_path / "sent"
    stream = Stream(grpc)
    stream.send("streaming_endless", row(1), parameters={"path": str(path)})
    assert [stream.value() for _ in range(5)] == [0, 1, 2, 3, 4]
    grpc.stop_stream(cancel_requests=True)
    eventually(path.exists)


def test_statistics_are_those_of_a_decoupled_model(http, stream):
    def counts() -> tuple[int, int, int]:
        (stats,) = http.get_inference_statistics("streaming")["model_stats"]
        second = stats.get("response_stats", {}).get("1", {"success": {"count": 0}})
        success = stats["inference_stats"]["success"]
        return success["count"], stats["execution_count"], second["success"]["count"]

    before = counts()
    stream.send("streaming", row(1, 2), enable_empty_final_response=True)
    while not is_final(stream.take()):
        pass
    eventually(lambda: np.subtract(counts(), before).tolist() == [1, 1, 1])


def test_the_order_of_loading_does_not_matter(serve):
    server = serve({name: MODELS[name] for name in CHAIN}, "--model-control-mode=explicit")
    with httpclient.InferenceServerClient(server.url("http")) as client:
        client.load_model("streaming")
        assert all(client.is_model_ready(name) for name in CHAIN)
        assert decoupled(client, "streaming")
        client.unload_model("streaming", unload_dependents=True)
        for name in reversed(CHAIN):
            client.load_model(name)
        assert decoupled(client, "streaming")
    with grpcclient.InferenceServerClient(server.url("grpc")) as client:
        stream = Stream(client)
        stream.send("streaming", row(1))
        assert stream.value() == 3
        client.stop_stream()


def test_embedded_servers_stream_it(tmp_path):
    for name in CHAIN:
        write_python_model(tmp_path, name, *MODELS[name])
    with fastserve.InferenceServer(tmp_path) as server:
        results = server.infer_stream("streaming", {"INPUT0": row(1, 2)})
        assert [float(result["OUTPUT0"][0, 0]) for result in results] == [3, 5]
