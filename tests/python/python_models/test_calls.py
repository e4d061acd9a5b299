"""Business logic scripting: models that call models."""

import time

import numpy as np
import pytest
import tritonclient.http as httpclient
from tritonclient.utils import InferenceServerException

from tests.python.python_models.conftest import infer


def row(*values: float) -> np.ndarray:
    return np.array([values], np.float32)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("calling", [[1, 2]]),
        ("calling_calling", [[1, 2]]),
        ("async_calling", [[1, 2]]),
        ("calling_ensemble", [[3, 5]]),
    ],
)
def test_models_are_called(protocol, name, expected):
    assert infer(protocol, name, row(1, 2)).as_numpy("OUTPUT0").tolist() == expected


def test_large_tensors_pass_through_calls(protocol):
    values = np.random.default_rng(1).random((1, 1_000_000), np.float32)
    assert np.array_equal(infer(protocol, "calling", values).as_numpy("OUTPUT0"), values)


def test_every_response_of_a_decoupled_model_is_seen(protocol):
    assert infer(protocol, "summing_stream", row(1, 2, 4)).as_numpy("OUTPUT0").tolist() == [[7]]


def test_an_error_in_a_stream_is_seen(protocol):
    with pytest.raises(InferenceServerException, match="negative -2"):
        infer(protocol, "summing_stream", row(1, -2, 4))


def test_a_model_that_does_not_exist_is_an_error_of_the_call(protocol):
    with pytest.raises(InferenceServerException, match="'nobody' is not found"):
        infer(protocol, "calling_nobody", row(1))


@pytest.mark.parametrize(
    ("name", "chain"),
    [
        ("calling_itself", "calling_itself -> calling_itself"),
        ("calling_back", "calling_back -> calling_forth -> calling_back"),
    ],
)
def test_a_call_that_only_its_ancestors_could_let_run_fails_at_once(protocol, name, chain):
    start = time.monotonic()
    with pytest.raises(InferenceServerException, match=chain):
        infer(protocol, name, row(1))
    assert time.monotonic() - start < 5


class TestControl:
    def ask(self, http: httpclient.InferenceServerClient, action: str, name: str) -> str:
        values = np.array([action, name], np.object_).reshape(2)
        answer = infer((httpclient, http), "controlling", values)
        return str(answer.as_numpy("OUTPUT0")[0, 0].decode())

    def test_models_are_loaded_and_unloaded(self, http):
        assert self.ask(http, "ready", "tail") == "True"
        assert self.ask(http, "unload", "tail") == "False"
        assert not http.is_model_ready("tail")
        assert self.ask(http, "load", "tail") == "True"
        assert http.is_model_ready("tail")

    def test_what_is_wrong_is_an_exception(self, http):
        assert "nobody" in self.ask(http, "load", "nobody")

    def test_a_model_may_unload_itself(self, http):
        assert self.ask(http, "unload", "controlling") == "False"
        http.load_model("controlling")
        assert self.ask(http, "ready", "controlling") == "True"
