"""Ensembles of ONNX models with the official client, over HTTP and gRPC."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from tests.models.ensembles import ENSEMBLES, chain, ensemble, step, write_ensembles
from tests.models.repository import write_repository
from tests.python.conformance.conftest import service_of
from tests.python.conformance.test_control import as_dict, index_of
from tests.python.conftest import IDENTITY_CONFIG, ServerProcess, serving_all, write_model

_MEMBERS = [
    "tiny",
    "add_sub_fp32",
    "strings",
    "classifier",
    "lookup",
    "identity_bytes",
    "identity_int64",
    "identity_fp32",
]
_SLOW = IDENTITY_CONFIG + 'parameters { key: "execute_delay_ms" value { string_value: "400" } }'
_OPTIONAL = """backend: "identity"
max_batch_size: 8
input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [ -1 ] },
        { name: "INPUT1" data_type: TYPE_FP32 dims: [ -1 ] optional: true } ]
output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ -1 ] },
         { name: "OUTPUT1" data_type: TYPE_FP32 dims: [ -1 ] } ]
"""
_WIDE = (["INPUT0 FP32 [-1]"], ["OUTPUT0 FP32 [-1]"])
ROW = np.arange(16, dtype=np.float32).reshape(1, 16)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("ensembles")
    write_repository(directory, _MEMBERS)
    write_ensembles(directory, ENSEMBLES)
    write_model(directory, "optional", _OPTIONAL)
    write_model(directory, "slow", _SLOW)
    write_model(directory, "echo")
    write_model(directory, "slow_chain", ensemble(chain(["echo", "slow", "identity_fp32"]), *_WIDE))
    extra = step(
        "optional",
        {"INPUT0": "INPUT0", "INPUT1": "EXTRA"},
        {"OUTPUT0": "OUTPUT0", "OUTPUT1": "behind"},
    ) + chain(["echo"], "behind", "OUTPUT1")
    inputs = ["INPUT0 FP32 [-1]", "EXTRA FP32 [-1] optional: true"]
    outputs = ["OUTPUT0 FP32 [-1]", "OUTPUT1 FP32 [-1]"]
    write_model(directory, "extra", ensemble(extra, inputs, outputs))
    limited = ensemble(chain(["slow"]) + "max_inflight_requests: 1\n", *_WIDE)
    write_model(directory, "limited", limited)
    return directory


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[ServerProcess]:
    with serving_all(repository) as process:
        yield process


Ask = Callable[..., np.ndarray]


@pytest.fixture
def ask(protocol) -> Ask:
    """Infers with arrays by input name; the first output, or the one that is named."""
    module, client = protocol

    def infer(
        model: str, output: str = "OUTPUT0", asked: list | None = None, **arrays
    ) -> np.ndarray:
        types = {"f": "FP32", "i": "INT64", "O": "BYTES"}
        inputs = []
        for name, array in arrays.items():
            inputs.append(module.InferInput(name, list(array.shape), types[array.dtype.kind]))
            inputs[-1].set_data_from_numpy(array)
        return client.infer(model, inputs, outputs=asked).as_numpy(output)

    return infer


def test_a_chain_hands_each_output_to_the_next_model(ask):
    assert np.array_equal(ask("chain", INPUT0=ROW), ROW + 3)
    rows = np.repeat(ROW, 4, axis=0)
    assert np.array_equal(ask("chain", INPUT0=rows), rows + 3)


def test_a_diamond_joins_its_branches(ask):
    other = np.full((1, 16), 0.5, np.float32)
    left, right = (ROW + other) + 1, (ROW - other) + 2
    assert np.array_equal(ask("diamond", INPUT0=ROW, INPUT1=other), left + right)
    assert np.array_equal(ask("diamond", "OUTPUT1", INPUT0=ROW, INPUT1=other), left - right)


def test_an_ensemble_may_be_a_member(ask):
    assert np.array_equal(ask("nested", INPUT0=ROW), ROW + 7)


def test_strings_pass_between_models(ask):
    words = np.array([[b"one", "zwei ü".encode()]], np.object_)
    more = np.array([[b"", b"a\0b"]], np.object_)
    joined = ask("words", INPUT0=words, INPUT1=more)
    assert joined.tolist() == [[*words[0], *more[0]]]


def test_what_follows_from_an_optional_input_is_left_out_with_it(ask, protocol):
    module, _ = protocol
    both = {"INPUT0": ROW, "EXTRA": ROW + 5}
    assert np.array_equal(ask("extra", **both), ROW)
    assert np.array_equal(ask("extra", "OUTPUT1", **both), ROW + 5)
    assert np.array_equal(ask("extra", INPUT0=ROW), ROW)
    assert ask("extra", "OUTPUT1", INPUT0=ROW) is None
    with pytest.raises(
        InferenceServerException, match="in ensemble 'extra', output 'OUTPUT1' does not exist"
    ):
        ask("extra", asked=[module.InferRequestedOutput("OUTPUT1")], INPUT0=ROW)


def test_labels_of_a_member_serve_the_classification(ask, protocol):
    module, _ = protocol
    asked = [module.InferRequestedOutput("OUTPUT0", class_count=1)]
    row = np.array([[0, 0, 3, 0]], np.float32)
    (best,) = ask("labelled", asked=asked, INPUT0=row)[0]
    assert best.decode().split(":")[1:] == ["2", "fish"]


def test_a_failing_member_fails_the_request_and_nothing_else(ask):
    assert ask("table", INPUT0=np.array([[4]], np.int64)).tolist() == [[40]]
    with pytest.raises(InferenceServerException, match=r"in ensemble 'table', .*indices"):
        ask("table", INPUT0=np.array([[99]], np.int64))
    assert ask("table", INPUT0=np.array([[5]], np.int64)).tolist() == [[50]]


def test_the_inputs_are_checked_as_those_of_any_model(ask):
    with pytest.raises(InferenceServerException, match="unexpected shape for input 'INPUT0' for"):
        ask("chain", INPUT0=ROW[:, :5])
    with pytest.raises(InferenceServerException, match="batch-size must be <= 4 for 'chain'"):
        ask("chain", INPUT0=np.repeat(ROW, 5, axis=0))
    with pytest.raises(InferenceServerException, match=r"missing required input\(s\) \['INPUT1'\]"):
        ask("diamond", INPUT0=ROW)


def test_metadata_and_configuration_are_those_of_tritons_ensembles(protocol):
    _, client = protocol
    metadata = as_dict(client.get_model_metadata("chain"))
    assert metadata["platform"] == "ensemble"
    assert [int(dim) for dim in metadata["inputs"][0]["shape"]] == [-1, 16]
    answer = as_dict(client.get_model_config("chain"))
    config = answer.get("config", answer)
    assert config["platform"] == "ensemble"
    assert not config.get("backend")
    assert not config.get("instance_group")
    assert [step["model_name"] for step in config["ensemble_scheduling"]["step"]] == ["tiny"] * 3


def test_steps_are_counted_in_the_statistics_of_their_models(ask, protocol):
    _, client = protocol

    def counts(model: str) -> tuple[int, int]:
        (stats,) = as_dict(client.get_inference_statistics(model))["model_stats"]
        success = stats["inference_stats"]["success"]
        return int(stats.get("inference_count", 0)), int(success.get("count", 0))

    before = {model: counts(model) for model in ("chain", "tiny")}
    ask("chain", INPUT0=np.repeat(ROW, 2, axis=0))
    after = {model: counts(model) for model in ("chain", "tiny")}
    added = {m: tuple(np.subtract(after[m], before[m]).tolist()) for m in after}
    assert added == {"chain": (2, 1), "tiny": (6, 3)}


def test_an_ensemble_is_ready_while_its_members_are(protocol, ask):
    _, client = protocol
    assert client.is_model_ready("words")
    client.unload_model("strings")
    assert not client.is_model_ready("words")
    assert client.is_model_ready("chain")
    words = np.array([[b"a"]], np.object_)
    with pytest.raises(
        InferenceServerException,
        match="in ensemble 'words', Request for unknown model: 'strings' has no available versions",
    ):
        ask("words", INPUT0=words, INPUT1=words)
    client.load_model("strings")
    assert client.is_model_ready("words")
    assert ask("words", INPUT0=words, INPUT1=words).tolist() == [[b"a", b"a"]]


def test_a_loaded_ensemble_brings_its_members_and_takes_them_along(protocol, ask):
    _, client = protocol
    client.unload_model("table", unload_dependents=True)
    states = index_of(client)
    for model in ("table", "lookup", "identity_int64"):
        assert states[model] == ("UNAVAILABLE", "unloaded")
    client.load_model("table")
    assert client.is_model_ready("table")
    assert ask("table", INPUT0=np.array([[1]], np.int64)).tolist() == [[10]]


def test_members_that_another_ensemble_needs_stay(protocol, ask):
    _, client = protocol
    client.unload_model("nested", unload_dependents=True)
    assert not client.is_model_ready("chain")
    assert client.is_model_ready("tiny"), "the diamond needs it"
    assert client.is_model_ready("diamond")
    client.load_model("nested")
    assert np.array_equal(ask("nested", INPUT0=ROW), ROW + 7)


def test_reload_of_a_member_under_traffic_loses_no_request(protocol, server, repository):
    module, _ = protocol
    url = server.url(service_of(module))
    stop = threading.Event()
    outcomes: list = []

    def run() -> None:
        tensor = module.InferInput("INPUT0", [1, 16], "FP32")
        tensor.set_data_from_numpy(ROW)
        with module.InferenceServerClient(url) as own:
            while not stop.is_set():
                try:
                    outcomes.append(own.infer("chain", [tensor]).as_numpy("OUTPUT0").tolist())
                except InferenceServerException as error:
                    outcomes.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    with module.InferenceServerClient(url) as admin:
        for _ in range(5):
            path = repository / "tiny" / "1" / "model.onnx"
            later = path.stat().st_mtime_ns + 1_000_000_000
            os.utime(path, ns=(later, later))
            admin.load_model("tiny")
    stop.set()
    thread.join()
    assert outcomes
    assert all(outcome == (ROW + 3).tolist() for outcome in outcomes)


def wide(module) -> list:
    tensor = module.InferInput("INPUT0", [1, 2], "FP32")
    tensor.set_data_from_numpy(np.ones((1, 2), np.float32))
    return [tensor]


def executions(client, model: str) -> int:
    (stats,) = as_dict(client.get_inference_statistics(model))["model_stats"]
    return int(stats.get("execution_count", 0))


def test_a_cancelled_request_starts_no_further_step(grpc):
    first, last = executions(grpc, "echo"), executions(grpc, "identity_fp32")
    done = threading.Event()
    results: list = []

    def finished(result, error) -> None:
        results.append((result, error))
        done.set()

    call = grpc.async_infer("slow_chain", wide(grpcclient), finished)
    while executions(grpc, "echo") == first:
        pass  # then its first step is done, and the slow one has it
    call.cancel()
    assert done.wait(10)
    assert results[0][1] is not None
    grpc.infer("slow", wide(grpcclient))  # behind the cancelled step on the same instance
    assert executions(grpc, "identity_fp32") == last


def test_max_inflight_requests_lets_the_others_wait(grpc):
    before = executions(grpc, "limited")
    answered: list = []
    all_done = threading.Event()

    def finished(result, error) -> None:
        answered.append(error)
        if len(answered) == 3:
            all_done.set()

    started = time.monotonic()
    for _ in range(3):
        grpc.async_infer("limited", wide(grpcclient), finished)
    assert all_done.wait(20)
    assert answered == [None] * 3
    assert executions(grpc, "limited") - before == 3
    assert time.monotonic() - started >= 1.2, "one after the other, 400 ms each"


def test_a_timeout_counts_while_a_request_waits_for_room(grpc):
    done = threading.Event()

    def finished(result, error) -> None:
        done.set()

    grpc.async_infer("limited", wide(grpcclient), finished)

    def until_one_comes_behind_it() -> None:
        while not done.is_set():
            grpc.infer("limited", wide(grpcclient), timeout=1000)

    with pytest.raises(InferenceServerException, match="Request timeout expired"):
        until_one_comes_behind_it()
    assert not done.is_set(), "it did not wait for the one before it"
    assert done.wait(10)
