"""Models written in Python, over both protocols with the official client."""

import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from tests.python.python_models.conftest import eventually, grpc_of, infer


def row(*values: float) -> np.ndarray:
    return np.array([values], np.float32)


@pytest.mark.parametrize("name", ["identity", "completing"])
def test_numbers_come_back(protocol, name):
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert np.array_equal(infer(protocol, name, values).as_numpy("OUTPUT0"), values)


def test_models_that_do_not_batch_take_any_shape(protocol):
    values = np.arange(5, dtype=np.int32)
    assert np.array_equal(infer(protocol, "numbers", values).as_numpy("OUTPUT0"), values)
    empty = np.array([], np.int32)
    assert infer(protocol, "numbers", empty).as_numpy("OUTPUT0").shape == (0,)


def test_strings_come_back_byte_for_byte(protocol):
    values = np.array([["", "a\0b", "ä", "x" * 100_000]], np.object_)
    answer = infer(protocol, "strings", values).as_numpy("OUTPUT0")
    assert [text.decode() for text in answer[0]] == list(values[0])


def test_invalid_utf8_comes_back(grpc, http):
    values = np.array([[b"\xff\xfe"]], np.object_)
    import tritonclient.grpc as grpcclient

    assert infer((grpcclient, grpc), "strings", values).as_numpy("OUTPUT0")[0, 0] == b"\xff\xfe"


def test_large_tensors_come_back(protocol):
    values = np.random.default_rng(1).random((1, 4_000_000), np.float32)
    assert np.array_equal(infer(protocol, "identity", values).as_numpy("OUTPUT0"), values)


@pytest.mark.parametrize(
    ("name", "expected"), [("tail", [2, 3, 4, 5, 6]), ("strided", [0, 2, 4, 6])]
)
def test_parts_of_an_input_may_be_the_output(protocol, name, expected):
    values = np.arange(7, dtype=np.float32)
    assert infer(protocol, name, values).as_numpy("OUTPUT0").tolist() == expected


def test_a_model_may_change_its_input(protocol):
    for _ in range(3):
        assert infer(protocol, "in_place", row(1, 2)).as_numpy("OUTPUT0").tolist() == [[2, 3]]


def test_execute_may_be_a_coroutine(protocol):
    assert infer(protocol, "awaiting", row(1, 2)).as_numpy("OUTPUT0").tolist() == [[2, 3]]


def test_many_callers_get_their_own_answers(server):
    protocol = grpc_of(server)

    def ask(number: int) -> bool:
        answer = infer(protocol, "doubling", row(number, number + 1))
        return answer.as_numpy("OUTPUT0").tolist() == [[2 * number, 2 * number + 2]]

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(500)))


def test_an_exception_fails_the_batch_with_its_place(protocol):
    with pytest.raises(InferenceServerException) as raised:
        infer(protocol, "failing", row(100))
    text = str(raised.value)
    assert "Failed to process the request(s) for model 'failing_0" in text
    assert "ValueError: all of the batch" in text
    assert "model.py(" in text


def test_what_is_no_response_is_refused(protocol):
    with pytest.raises(InferenceServerException, match="failing"):
        infer(protocol, "failing", row(101))
    assert infer(protocol, "failing", row(-1)).as_numpy("OUTPUT0").tolist() == [[-1]]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (0, "UNKNOWN"),
        (1, "INTERNAL"),
        (2, "NOT_FOUND"),
        (3, "INVALID_ARGUMENT"),
        (4, "UNAVAILABLE"),
        (5, "UNIMPLEMENTED"),
        (6, "ALREADY_EXISTS"),
        (7, "CANCELLED"),
    ],
)
def test_error_codes_reach_the_client(server, code, status):
    with pytest.raises(InferenceServerException, match=f"code {code}") as raised:
        infer(grpc_of(server), "failing", row(code))
    assert raised.value.status() == f"StatusCode.{status}"


def test_a_model_knows_its_request_and_itself(protocol, server):
    answer = infer(
        protocol,
        "about",
        np.array([["x"]], np.object_),
        request_id="mine",
        sequence_id=77,
        sequence_start=True,
        timeout=5_000_000,
        parameters={"depth": 3, "name": "n", "flag": True},
    )
    about = json.loads(answer.as_numpy("OUTPUT0")[0, 0])
    assert about["id"] == "mine"
    assert about["correlation_id"] == 77
    assert about["flags"] == 1
    assert about["timeout"] == 5_000_000
    assert about["parameters"] == {"depth": 3, "name": "n", "flag": True}
    assert about["args"]["model_name"] == "about"
    assert about["args"]["model_version"] == "1"
    assert about["args"]["model_instance_name"].startswith("about_0")
    assert about["args"]["model_instance_kind"] == "CPU"
    assert about["args"]["model_instance_device_id"] == "0"
    assert about["args"]["model_repository"].endswith("/about")
    assert about["dir"].endswith("/about/1")
    assert about["output"]["data_type"] == "TYPE_STRING"


def test_response_parameters_reach_the_client(http, grpc):
    import tritonclient.grpc as grpcclient
    import tritonclient.http as httpclient

    text = np.array([["x"]], np.object_)
    over_http = infer((httpclient, http), "about", text).get_response()
    assert over_http["parameters"]["answer"] == 42
    over_grpc = infer((grpcclient, grpc), "about", text).get_response()
    assert over_grpc.parameters["answer"].int64_param == 42
    assert over_grpc.parameters["name"].string_param == "about"


def test_auto_complete_config_is_asked(http):
    config = http.get_model_config("completing")
    assert config["max_batch_size"] == 4
    assert [tensor["name"] for tensor in config["input"]] == ["INPUT0"]
    assert "dynamic_batching" in config
    assert config["backend"] == "python"


def test_metrics_of_a_model_are_on_the_page(server, protocol):
    def seen() -> float:
        with urllib.request.urlopen(f"http://{server.url('metrics')}/metrics") as page:
            lines = page.read().decode().splitlines()
        found = [line for line in lines if line.startswith('rows_seen{model="observed"} ')]
        return float(found[0].split()[-1]) if found else 0.0

    before = seen()
    for _ in range(4):
        infer(protocol, "observed", np.zeros((2, 1), np.float32))
    eventually(lambda: seen() == before + 8)


def test_what_a_model_prints_and_logs_is_in_the_log(server):
    assert "observed" in server.wait_line("printed by the model")
    assert server.wait_line("observed is ready").startswith("W")


def test_sequences_reach_the_same_instance_with_their_flags(server):
    protocol = grpc_of(server)

    def send(sequence: int, value: float, **flags: bool) -> float:
        answer = infer(protocol, "sequence", row(value), sequence_id=sequence, **flags)
        return float(answer.as_numpy("OUTPUT0")[0, 0])

    for sequence in (5, 6):
        assert send(sequence, sequence, sequence_start=True) == sequence
    for sequence in (5, 6):
        assert send(sequence, 1) == sequence + 1
    for sequence in (5, 6):
        assert send(sequence, 1, sequence_end=True) == sequence + 2


def test_python_models_are_steps_of_ensembles(protocol):
    assert infer(protocol, "pipeline", row(1, 2)).as_numpy("OUTPUT0").tolist() == [[3, 5]]


def test_statistics_count_python_models(http):
    before = http.get_inference_statistics("identity")["model_stats"][0]
    import tritonclient.http as httpclient

    infer((httpclient, http), "identity", np.zeros((3, 1), np.float32))
    after = http.get_inference_statistics("identity")["model_stats"][0]
    assert after["inference_count"] == before["inference_count"] + 3
    assert after["inference_stats"]["success"]["count"] == (
        before["inference_stats"]["success"]["count"] + 1
    )


def test_what_a_model_keeps_and_changes_is_not_what_it_answered(server):
    values = np.ones((1, 1 << 18), np.float32)
    protocol = grpc_of(server)
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda _: infer(protocol, "keeping", values), range(40))
        sums = [set(answer.as_numpy("OUTPUT0").ravel().tolist()) for answer in answers]
    assert sorted(map(sorted, sums)) == [[n] for n in range(1, 41)]
