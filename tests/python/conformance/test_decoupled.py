"""A decoupled model through the official client: streams, callbacks, cancellation, statistics."""

import json
import queue
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
import tritonclient.http as httpclient
from tritonclient.utils import InferenceServerException

from tests.python.conftest import ServerProcess, write_model
from tests.python.repeat import REPEAT_CONFIG, repeat_arrays

_TYPES = {"IN": "INT32", "DELAY": "UINT32", "WAIT": "UINT32"}
_TIMEOUT_S = 30.0
_WARMUP = """
model_warmup [ { name: "zeros" count: 3
  inputs [ { key: "IN" value { data_type: TYPE_INT32 dims: 4 zero_data: true } },
           { key: "DELAY" value { data_type: TYPE_UINT32 dims: 4 zero_data: true } },
           { key: "WAIT" value { data_type: TYPE_UINT32 dims: 1 zero_data: true } } ] } ]
"""


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, start_module_server: Callable[..., ServerProcess]
) -> Iterator[ServerProcess]:
    repository = tmp_path_factory.mktemp("models")
    write_model(repository, "repeat", REPEAT_CONFIG)
    write_model(repository, "statistics", REPEAT_CONFIG)
    write_model(repository, "warm", REPEAT_CONFIG + _WARMUP)
    write_model(repository, "echo")
    process = start_module_server(f"--model-repository={repository}").wait_started()
    yield process
    assert process.stop() == 0


def inputs(module: Any, *arguments: Any, **options: Any) -> list[Any]:
    tensors = []
    for name, array in repeat_arrays(*arguments, **options).items():
        tensor = module.InferInput(name, list(array.shape), _TYPES[name])
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    return tensors


class Stream:
    """A stream of the client, whose callback fills a queue."""

    def __init__(self, client: grpcclient.InferenceServerClient) -> None:
        self.client = client
        self.answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
        client.start_stream(lambda result, error: self.answers.put((result, error)))

    def send(self, *arguments: Any, request_id: str = "", **options: Any) -> None:
        self.client.async_stream_infer(
            "repeat", inputs(grpcclient, *arguments), request_id=request_id, **options
        )

    def take(self) -> Any:
        result, error = self.answers.get(timeout=_TIMEOUT_S)
        if error is not None:
            raise error
        return result


@pytest.fixture
def stream(grpc: grpcclient.InferenceServerClient) -> Iterator[Stream]:
    opened = Stream(grpc)
    yield opened
    grpc.stop_stream(cancel_requests=True)


def is_final(result: Any) -> bool:
    return bool(result.get_response().parameters["triton_final_response"].bool_param)


def test_each_element_comes_as_a_response(stream):
    stream.send([4, 5, 6])
    results = [stream.take() for _ in range(3)]
    assert [result.as_numpy("OUT").tolist() for result in results] == [[4], [5], [6]]
    assert [result.as_numpy("IDX").tolist() for result in results] == [[0], [1], [2]]
    assert not any(map(is_final, results))


def test_the_empty_end_is_asked_for(stream):
    stream.send([9], enable_empty_final_response=True)
    assert stream.take().as_numpy("OUT").tolist() == [9]
    end = stream.take()
    assert is_final(end)
    assert end.as_numpy("OUT") is None
    stream.send([], enable_empty_final_response=True)
    assert is_final(stream.take())


def test_requests_overtake_each_other(stream):
    stream.send([1, 2], [0, 400], request_id="slow")
    stream.send([3], request_id="quick")
    order = [stream.take().get_response().id for _ in range(3)]
    assert sorted(order[:2]) == ["quick", "slow"]
    assert order[2] == "slow"


def test_an_error_names_its_request_and_the_stream_goes_on(stream):
    stream.send([1, 2], [0], request_id="wrong")
    with pytest.raises(InferenceServerException, match="they must be as many"):
        stream.take()
    stream.send([8])
    assert stream.take().as_numpy("OUT").tolist() == [8]


def test_many_requests_on_one_stream_get_all_their_responses(stream):
    for index in range(50):
        values = list(range(index * 100, index * 100 + 20))
        stream.send(values, request_id=str(index))
    found: dict[str, list[int]] = {}
    for _ in range(50 * 20):
        result = stream.take()
        found.setdefault(result.get_response().id, []).append(int(result.as_numpy("OUT")[0]))
    for index in range(50):
        assert found[str(index)] == list(range(index * 100, index * 100 + 20))


def test_cancelling_the_stream_cancels_its_requests(server, grpc):
    opened = Stream(grpc)
    opened.send([1, 2], [0, 3_600_000])
    opened.send([3, 4], [0, 3_600_000])
    opened.take()
    opened.take()
    before = cancelled(server)
    grpc.stop_stream(cancel_requests=True)
    while cancelled(server) < before + 2:  # the test's own timeout bounds it
        pass


def cancelled(server: ServerProcess) -> float:
    with urllib.request.urlopen(f"http://{server.url('metrics')}/metrics") as page:
        text = page.read().decode()
    start = 'nv_inference_request_failure{model="repeat",reason="CANCELED",version="1"} '
    (line,) = [line for line in text.splitlines() if line.startswith(start)]
    return float(line.removeprefix(start))


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (grpcclient, "ModelInfer RPC doesn't support"),
        (httpclient, "HTTP end point doesn't support"),
    ],
)
def test_a_unary_request_is_refused(server, module, text):
    url = server.url("grpc" if module is grpcclient else "http")
    with (
        module.InferenceServerClient(url) as client,
        pytest.raises(InferenceServerException, match=text),
    ):
        client.infer("repeat", inputs(module, [1]))


def test_a_warm_up_waits_for_the_last_response(grpc):
    assert grpc.is_model_ready("warm")


def test_the_configuration_says_that_the_model_is_decoupled(grpc):
    config = grpc.get_model_config("repeat").config
    assert config.model_transaction_policy.decoupled


def test_statistics_count_a_request_at_its_end_and_each_response(grpc):
    results: queue.Queue[Any] = queue.Queue()
    grpc.start_stream(lambda result, error: results.put(error or result))
    for values in ([1, 2, 3], [4]):
        grpc.async_stream_infer(
            "statistics", inputs(grpcclient, values), enable_empty_final_response=True
        )
    while sum(is_final(result) for result in list(results.queue)) < 2:
        pass
    grpc.stop_stream()
    statistics = grpc.get_inference_statistics("statistics", as_json=True)["model_stats"][0]
    while int(statistics["inference_stats"]["success"].get("count", 0)) < 2:
        statistics = grpc.get_inference_statistics("statistics", as_json=True)["model_stats"][0]
    counts = {
        index: {name: int(value.get("count", 0)) for name, value in response.items()}
        for index, response in statistics["response_stats"].items()
    }
    assert sorted(counts) == ["0", "1", "2", "3"]
    assert [counts[str(index)]["success"] for index in range(4)] == [2, 1, 1, 0]
    assert counts["1"]["empty_response"] == counts["3"]["empty_response"] == 1
    assert counts["0"]["compute_infer"] == 2


def test_generate_stream_answers_as_the_extension_says(server):
    request = urllib.request.Request(
        f"http://{server.url('http')}/v2/models/repeat/generate_stream",
        json.dumps({"IN": [1, 2], "DELAY": [0, 0], "WAIT": 0}).encode(),
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        lines = answer.read().decode().split("\n\n")
    assert [json.loads(line.removeprefix("data: "))["OUT"] for line in lines[:-1]] == [1, 2]


def test_a_single_answer_streams_with_its_final_flag(grpc):
    results: queue.Queue[Any] = queue.Queue()
    grpc.start_stream(lambda result, error: results.put(error or result))
    tensor = grpcclient.InferInput("INPUT0", [1, 1], "FP32")
    tensor.set_data_from_numpy(np.ones((1, 1), np.float32))
    grpc.async_stream_infer("echo", [tensor])
    assert is_final(results.get(timeout=_TIMEOUT_S))
    grpc.stop_stream()
