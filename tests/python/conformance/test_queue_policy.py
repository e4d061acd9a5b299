"""Queue policies and priorities, from config.pbtxt to what the official clients see."""

import os
import re
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from tests.python.conformance.conftest import service_of
from tests.python.conftest import IDENTITY_CONFIG, ServerProcess, serving_all, write_model

_SLOW = IDENTITY_CONFIG.replace("max_batch_size: 8", "max_batch_size: 1") + (
    'parameters { key: "execute_delay_ms" value { string_value: "300" } }\n'
)
_FULL = "default_queue_policy { max_queue_size: 1 }"
_IMPATIENT = "default_queue_policy { default_timeout_microseconds: 20000 }"
_PATIENT = "default_queue_policy { default_timeout_microseconds: 600000000 }"
_OVERRIDE = _PATIENT.replace("}", "allow_timeout_override: true }")
_DELAY = _OVERRIDE.replace("}", "timeout_action: DELAY }")
_LEVELS = "priority_levels: 3 default_priority_level: 2"
# Level 1 never times out, level 2 does at once.
_LEVEL_POLICIES = (
    "priority_levels: 2 default_priority_level: 2 "
    "priority_queue_policy { key: 2 value { default_timeout_microseconds: 1 } }"
)
# So many requests of a model are queued before the first runs: what arrives in which order, and
# what has timed out by then, does not depend on the machine.
_HELD = 3
_TAGS = ("http", "grpc", "http_aio", "grpc_aio")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp("policies")
    for name, batching in (
        ("full", _FULL),
        ("impatient", _IMPATIENT),
        ("patient", _PATIENT),
        ("override", _OVERRIDE),
    ):
        write_model(directory, name, f"{_SLOW} dynamic_batching {{ {batching} }}")
    with serving_all(directory) as process:
        yield process


@pytest.fixture(scope="module")
def holding_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Holds the first requests of each model; one model per client and test."""
    directory = tmp_path_factory.mktemp("held")
    for tag in _TAGS:
        for name, batching in (
            ("delay", _DELAY),
            ("levels", _LEVELS),
            ("level_policies", _LEVEL_POLICIES),
        ):
            write_model(directory, f"{name}_{tag}", f"{_SLOW} dynamic_batching {{ {batching} }}")
    environment = {**os.environ, "TRITONSERVER_DELAY_SCHEDULER": str(_HELD)}
    with serving_all(directory, environment) as process:
        yield process


Send = Callable[..., "Future[str]"]


@pytest.fixture
def send(protocol: tuple) -> Iterator[Send]:
    """Sends a request from a thread with a client of its own; the outcome is "answered", or what
    the client is told."""
    module, _ = protocol

    def infer(server: ServerProcess, model: str, options: dict[str, Any]) -> str:
        tensor = module.InferInput("INPUT0", [1, 2], "FP32")
        tensor.set_data_from_numpy(np.ones((1, 2), np.float32))
        with module.InferenceServerClient(server.url(service_of(module))) as client:
            try:
                client.infer(model, [tensor], **options)
            except InferenceServerException as error:
                return f"{error.status()} {error.message()}"
        return "answered"

    with ThreadPoolExecutor(16) as pool:
        yield lambda server, model, **options: pool.submit(infer, server, model, options)


def held_model(name: str, protocol: tuple) -> str:
    tag = protocol[0].__name__.partition(".")[2].replace(".", "_")
    return f"{name}_{tag}"


def refusal(protocol: tuple, text: str) -> str:
    unavailable = "503" if service_of(protocol[0]) == "http" else "StatusCode.UNAVAILABLE"
    return f"{unavailable} {text}"


def wait_until_pending(server: ServerProcess, model: str, count: int) -> None:
    page = f"http://{server.url('metrics')}/metrics"
    gauge = rf'nv_inference_pending_request_count{{model="{model}",version="1"}} {count}\b'
    text = ""
    while not re.search(gauge, text):
        with urllib.request.urlopen(page, timeout=10) as response:
            text = response.read().decode()


def in_order_of_answers(server: ServerProcess, model: str, sends: dict[str, dict], send: Send):
    """Sends one after the other, each when the one before is queued; the names as answered."""
    answers: list[str] = []
    futures = []
    for number, (name, options) in enumerate(sends.items()):
        if number:
            wait_until_pending(server, model, number)
        futures.append(send(server, model, **options))
        futures[-1].add_done_callback(
            lambda done, name=name: answers.append(
                name if done.result() == "answered" else f"{name}: {done.result()}"
            )
        )
    for future in futures:
        future.result()
    return answers


def test_a_full_queue_refuses_and_says_so(protocol, server, send):
    outcomes = [future.result() for future in [send(server, "full") for _ in range(12)]]
    assert set(outcomes) == {"answered", refusal(protocol, "Exceeds maximum queue size")}


def test_a_request_that_waits_too_long_is_refused(protocol, server, send):
    outcomes = [future.result() for future in [send(server, "impatient") for _ in range(8)]]
    assert outcomes.count(refusal(protocol, "Request timeout expired")) >= 1
    assert set(outcomes) <= {"answered", refusal(protocol, "Request timeout expired")}


def test_a_client_may_shorten_its_timeout_where_the_policy_lets_it(protocol, server, send):
    short = [send(server, "override", timeout=1000) for _ in range(6)]
    long = [send(server, "override") for _ in range(2)]
    assert [future.result() for future in long] == ["answered"] * 2
    assert refusal(protocol, "Request timeout expired") in [future.result() for future in short]


def test_a_timeout_that_the_policy_does_not_allow_is_ignored(server, send):
    futures = [send(server, "patient", timeout=1000) for _ in range(4)]
    assert [future.result() for future in futures] == ["answered"] * 4


def test_a_delayed_request_is_answered_after_those_behind_it(protocol, holding_server, send):
    model = held_model("delay", protocol)
    sends: dict[str, dict] = {"late": {"timeout": 1}, "second": {}, "third": {}}
    answers = in_order_of_answers(holding_server, model, sends, send)
    assert answers == ["second", "third", "late"]


def test_urgent_requests_are_answered_first(protocol, holding_server, send):
    model = held_model("levels", protocol)
    sends: dict[str, dict] = {"low": {"priority": 3}, "default": {}, "high": {"priority": 1}}
    answers = in_order_of_answers(holding_server, model, sends, send)
    assert answers == ["high", "default", "low"]


def test_each_level_has_its_own_policy(protocol, holding_server, send):
    model = held_model("level_policies", protocol)
    urgent = [send(holding_server, model, priority=1) for _ in range(_HELD - 1)]
    wait_until_pending(holding_server, model, _HELD - 1)
    expired = send(holding_server, model)
    assert expired.result() == refusal(protocol, "Request timeout expired")
    urgent.append(send(holding_server, model, priority=1))  # enough are queued, if not before
    assert [future.result() for future in urgent] == ["answered"] * _HELD
