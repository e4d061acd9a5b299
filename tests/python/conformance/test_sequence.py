"""Sequence models through the official clients: controls, state, slots, errors."""

import itertools
import json
import os
import queue
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
import tritonclient.http as httpclient
from tritonclient.utils import InferenceServerException

from tests.models import CONTROL_TYPES
from tests.models.repository import write_repository
from tests.python.conftest import ServerProcess, write_model

_NUMPY = {
    "int32": np.int32,
    "fp32": np.float32,
    "bool": np.bool_,
    "uint64": np.uint64,
    "int64": np.int64,
    "uint32": np.uint32,
    "string": np.object_,
}
# One slot, and sequences that are soon forgotten.
_BRIEF = """
backend: "identity"
input [ { name: "INPUT" data_type: TYPE_FP32 dims: [ 1, 1 ] } ]
output [ { name: "OUTPUT" data_type: TYPE_FP32 dims: [ 1, 1 ] } ]
sequence_batching { max_sequence_idle_microseconds: 50000 }
"""
_NO_ID = "must specify a non-zero or non-empty correlation ID"
_NO_START = "inference request for sequence {} to model '{}' must specify the START flag on the "


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, start_module_server: Callable[..., ServerProcess]
) -> Iterator[ServerProcess]:
    repository = tmp_path_factory.mktemp("models")
    write_repository(repository, ["accumulator", "history", "sentence", *CONTROL_TYPES])
    write_model(repository, "brief", _BRIEF)
    process = start_module_server(f"--model-repository={repository}").wait_started()
    yield process
    assert process.stop() == 0


class Sequence:
    """One sequence of a client."""

    def __init__(self, protocol: tuple[Any, Any], model: str, sequence_id: int | str) -> None:
        self._module, self._client = protocol
        self._model = model
        self._id = sequence_id

    def send(self, value: Any, *, start: bool = False, end: bool = False) -> Any:
        """The result for one value."""
        array = np.array([[value]], np.object_ if isinstance(value, bytes) else np.float32)
        kind = "BYTES" if isinstance(value, bytes) else "FP32"
        tensor = self._module.InferInput("INPUT", [1, 1], kind)
        tensor.set_data_from_numpy(array)
        return self._client.infer(
            self._model, [tensor], sequence_id=self._id, sequence_start=start, sequence_end=end
        )


_ids = itertools.count(1)


def test_the_server_says_that_it_knows_sequences(protocol: tuple) -> None:
    metadata = protocol[1].get_server_metadata()
    extensions = metadata["extensions"] if isinstance(metadata, dict) else metadata.extensions
    assert "sequence" in extensions


@pytest.mark.parametrize("text_id", [False, True])
def test_state_adds_up_over_a_sequence_and_is_not_answered(protocol: tuple, text_id: bool) -> None:
    number = next(_ids)
    sequence = Sequence(protocol, "accumulator", f"id {number}" if text_id else number)
    first = sequence.send(1, start=True)
    assert first.as_numpy("SUM_OUT") is None
    sums = [first, sequence.send(10), sequence.send(100, end=True)]
    assert [result.as_numpy("OUTPUT").item() for result in sums] == [1, 11, 111]
    with pytest.raises(InferenceServerException, match="must specify the START flag"):
        sequence.send(1)
    assert sequence.send(5, start=True, end=True).as_numpy("OUTPUT").item() == 5


def test_restart_forgets_the_state(protocol: tuple) -> None:
    sequence = Sequence(protocol, "accumulator", next(_ids))
    sequence.send(1, start=True)
    assert sequence.send(2, start=True).as_numpy("OUTPUT").item() == 2
    assert sequence.send(3, end=True).as_numpy("OUTPUT").item() == 5


def test_a_state_may_grow(protocol: tuple) -> None:
    sequence = Sequence(protocol, "history", next(_ids))
    for step in range(5):
        result = sequence.send(step, start=step == 0, end=step == 4)
        assert result.as_numpy("OUTPUT").tolist() == [list(range(step + 1))]


def test_a_state_begins_with_the_content_of_its_file(protocol: tuple) -> None:
    sequence = Sequence(protocol, "sentence", next(_ids))
    said = sequence.send(b"all", start=True).as_numpy("OUTPUT")
    assert said.tolist() == [[b"hello", b"", b"all"]]
    said = sequence.send(b"!", end=True).as_numpy("OUTPUT")
    assert said.tolist() == [[b"hello", b"", b"all", b"!"]]


@pytest.mark.parametrize("model", CONTROL_TYPES)
def test_controls_arrive_in_every_data_type(protocol: tuple, model: str) -> None:
    _, flag, correlation_id = model.split("_")
    number = next(_ids)
    sequence = Sequence(protocol, model, f"s{number}" if correlation_id == "string" else number)
    results = [sequence.send(7, start=True), sequence.send(7), sequence.send(7, end=True)]
    for name, expected in {
        "STARTED": [1, 0, 0],
        "WAS_READY": [1, 1, 1],
        "ENDED": [0, 0, 1],
    }.items():
        answers = [result.as_numpy(name) for result in results]
        assert {answer.dtype for answer in answers} == {np.dtype(_NUMPY[flag])}
        assert [int(answer.item()) for answer in answers] == expected
    answer = results[0].as_numpy("ID")
    assert answer.dtype == _NUMPY[correlation_id]
    assert answer.item() == (f"s{number}".encode() if correlation_id == "string" else number)


@pytest.mark.parametrize("number", [2**53 + 1, 2**63 - 1])
def test_large_ids_arrive_to_the_last_bit(protocol: tuple, number: int) -> None:
    for model in ("controls_int32_uint64", "controls_fp32_int64"):
        result = Sequence(protocol, model, number).send(1, start=True, end=True)
        assert int(result.as_numpy("ID").item()) == number


def test_ids_use_all_of_64_bits(http: httpclient.InferenceServerClient) -> None:
    """Over HTTP: tritonclient's gRPC puts ids into a signed field."""
    sequence = Sequence((httpclient, http), "controls_int32_uint64", 2**64 - 1)
    assert int(sequence.send(1, start=True).as_numpy("ID").item()) == 2**64 - 1
    assert int(sequence.send(1, end=True).as_numpy("ENDED").item()) == 1


@pytest.mark.parametrize("sequence_id", [True, 1.5, -1, 2**64, [1], {"id": 1}, None])
def test_an_id_that_is_neither_number_nor_text_is_refused(
    server: ServerProcess, sequence_id: Any
) -> None:
    body = {
        "inputs": [{"name": "INPUT", "datatype": "FP32", "shape": [1, 1], "data": [1]}],
        "parameters": {"sequence_id": sequence_id, "sequence_start": True, "sequence_end": True},
    }
    url = f"http://{server.url('http')}/v2/models/accumulator/infer"
    request = urllib.request.Request(url, json.dumps(body).encode(), method="POST")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    with refused.value as answer:
        assert answer.code == 400
        assert json.load(answer)["error"]


def test_controls_and_states_are_not_shown_to_clients(
    http: httpclient.InferenceServerClient,
) -> None:
    for model in ("accumulator", "controls_int32_uint64"):
        metadata = http.get_model_metadata(model)
        assert [tensor["name"] for tensor in metadata["inputs"]] == ["INPUT"]
    assert [tensor["name"] for tensor in http.get_model_metadata("accumulator")["outputs"]] == [
        "OUTPUT"
    ]


def test_clients_cannot_send_a_state(http: httpclient.InferenceServerClient) -> None:
    tensors = []
    for name in ("INPUT", "SUM_IN"):
        tensors.append(httpclient.InferInput(name, [1, 1], "FP32"))
        tensors[-1].set_data_from_numpy(np.ones((1, 1), np.float32))
    with pytest.raises(InferenceServerException, match="expected 1 inputs but got 2"):
        http.infer("accumulator", tensors, sequence_id=1, sequence_start=True)


@pytest.mark.parametrize("flags", [{}, {"end": True}])
def test_a_sequence_must_start(protocol: tuple, flags: dict[str, bool]) -> None:
    for sequence_id in (987654321, "unknown"):
        expected = _NO_START.format(sequence_id, "accumulator")
        with pytest.raises(InferenceServerException, match=expected):
            Sequence(protocol, "accumulator", sequence_id).send(1, **flags)


def test_a_sequence_model_needs_a_correlation_id(protocol: tuple) -> None:
    with pytest.raises(InferenceServerException, match=_NO_ID):
        Sequence(protocol, "accumulator", 0).send(1, start=True)


def test_a_correlation_id_of_the_wrong_type_is_refused(protocol: tuple) -> None:
    with pytest.raises(InferenceServerException, match="is a string but control input 'CORRID'"):
        Sequence(protocol, "controls_int32_int32", "text").send(1, start=True)
    with pytest.raises(InferenceServerException, match="is a number but control input 'CORRID'"):
        Sequence(protocol, "controls_int32_string", 5).send(1, start=True)
    with pytest.raises(InferenceServerException, match="2147483648 is too large"):
        Sequence(protocol, "controls_int32_int32", 2**31).send(1, start=True)


def test_a_batch_of_sequences_is_refused(http: httpclient.InferenceServerClient) -> None:
    tensor = httpclient.InferInput("INPUT", [2, 1], "FP32")
    tensor.set_data_from_numpy(np.ones((2, 1), np.float32))
    with pytest.raises(InferenceServerException, match="must specify batch-size 1"):
        http.infer("accumulator", [tensor], sequence_id=1, sequence_start=True)


def test_an_abandoned_sequence_gives_its_slot_to_the_backlog(protocol: tuple) -> None:
    abandoned = Sequence(protocol, "brief", next(_ids))
    abandoned.send(1, start=True)
    assert Sequence(protocol, "brief", next(_ids)).send(2, start=True, end=True) is not None
    with pytest.raises(InferenceServerException, match="must specify the START flag"):
        abandoned.send(3)


def test_more_sequences_than_slots_interleave_on_one_stream(server: ServerProcess) -> None:
    """24 sequences of 10 requests over twice 8 candidates: the backlog moves up as others end."""
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    sums: dict[str, list[float]] = {str(number): [] for number in range(24)}
    with grpcclient.InferenceServerClient(server.url("grpc")) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for step, number in itertools.product(range(10), range(24)):
            tensor = grpcclient.InferInput("INPUT", [1, 1], "FP32")
            tensor.set_data_from_numpy(np.array([[number + 1]], np.float32))
            client.async_stream_infer(
                "accumulator",
                [tensor],
                request_id=str(number),
                sequence_id=5000 + number,
                sequence_start=step == 0,
                sequence_end=step == 9,
            )
        for _ in range(240):
            result, error = answers.get(timeout=30)
            assert error is None
            sums[result.get_response().id].append(result.as_numpy("OUTPUT").item())
        client.stop_stream()
    for number in range(24):
        assert sums[str(number)] == [(number + 1) * step for step in range(1, 11)]


def test_backlog_delay_holds_until_the_backlog_is_long_enough(
    tmp_path: Path, start_server: Callable[..., ServerProcess]
) -> None:
    write_model(tmp_path, "brief", _BRIEF)
    environment = {**os.environ, "TRITONSERVER_BACKLOG_DELAY_SCHEDULER": "2"}
    server = start_server(f"--model-repository={tmp_path}", environment=environment).wait_started()
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    tensor = grpcclient.InferInput("INPUT", [1, 1], "FP32")
    tensor.set_data_from_numpy(np.ones((1, 1), np.float32))
    with grpcclient.InferenceServerClient(server.url("grpc")) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for number in (1, 2, 3):
            if number == 3:
                with pytest.raises(queue.Empty):
                    answers.get(timeout=0.2)
            client.async_stream_infer(
                "brief", [tensor], sequence_id=number, sequence_start=True, sequence_end=True
            )
        assert [answers.get(timeout=30)[1] for _ in range(3)] == [None] * 3
        client.stop_stream()
    assert server.stop() == 0
