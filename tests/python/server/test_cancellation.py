"""Who goes away is not served: a gRPC cancel, a gRPC deadline and an HTTP disconnect reach a
request in every stage, and are counted under their reason.

All stages are played at once, behind one request each that keeps its model busy for some seconds.
"""

import http.client
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpcclient

from tests.python.conftest import IDENTITY_CONFIG, ServerProcess, write_model

BUSY_MS = 8000  # enough for all that happens meanwhile on a machine with other work
DEADLINE_S = 1.0
TIMEOUT_S = 60.0
REASONS = ("REJECTED", "CANCELED", "BACKEND", "OTHER")

ONE_ROW = IDENTITY_CONFIG.replace("max_batch_size: 8", "max_batch_size: 1")
SLOW = ONE_ROW + (
    f'parameters {{ key: "execute_delay_ms" value {{ string_value: "{BUSY_MS}" }} }}\n'
)
ENSEMBLE = """platform: "ensemble" max_batch_size: 1
input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ -1 ] } ]
ensemble_scheduling { OPTION step [ { model_name: "MEMBER" model_version: -1
  input_map { key: "INPUT0" value: "INPUT0" } output_map { key: "OUTPUT0" value: "OUTPUT0" } } ] }
"""
RESOURCE = (
    'instance_group [ { kind: KIND_CPU rate_limiter { resources [ { name: "R" count: 1 } ] } } ]'
)


def ensemble(member: str, option: str = "") -> str:
    return ENSEMBLE.replace("OPTION", option).replace("MEMBER", member)


MODELS = {
    "queue": SLOW,
    "direct": SLOW + "sequence_batching { }",
    "oldest": SLOW + "sequence_batching { oldest { max_candidate_sequences: 1 } }",
    "step": ensemble("member"),
    "member": SLOW,
    "room": ensemble("roomy", "max_inflight_requests: 1"),
    "roomy": SLOW,
    "cached": SLOW + "response_cache { enable: true }",
    "holder": SLOW + RESOURCE,
    "limited": ONE_ROW + RESOURCE,
    "executed": SLOW.replace(str(BUSY_MS), str(BUSY_MS // 2))
    + "instance_group [ { kind: KIND_CPU count: 3 } ]",
}


@dataclass
class Stage:
    """Where three requests to `model` wait: in the queue of `waits_in`, behind one to `blocker`."""

    model: str
    waits_in: str = ""
    blocker: str = ""
    pending: int = 3
    was_busy: bool = False  # when the last of the three was counted
    blocked: list[int] = field(default_factory=list)  # HTTP status of the one in front

    def __post_init__(self) -> None:
        self.waits_in = self.waits_in or self.model
        self.blocker = self.blocker or self.model


STAGES = [
    Stage("queue"),
    Stage("direct"),
    Stage("oldest"),
    Stage("step", waits_in="member"),
    Stage("room"),
    Stage("cached"),
    Stage("limited", blocker="holder"),
]
IDS = [stage.model for stage in STAGES]


class Scene:
    """The server, and what its clients do."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.grpc = grpcclient.InferenceServerClient(server.url("grpc"))
        self._sequence = 0

    def next_sequence(self) -> int:
        self._sequence += 1
        return self._sequence

    def send_http(self, model: str) -> http.client.HTTPConnection:
        flags = {"sequence_id": self.next_sequence(), "sequence_start": True, "sequence_end": True}
        body = {
            "inputs": [{"name": "INPUT0", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}],
            "parameters": flags if model in ("direct", "oldest") else {},
        }
        connection = http.client.HTTPConnection(self.server.url("http"), timeout=TIMEOUT_S)
        connection.request("POST", f"/v2/models/{model}/infer", json.dumps(body))
        return connection

    def send_grpc(self, model: str, deadline_s: float | None) -> object:
        tensor = grpcclient.InferInput("INPUT0", [1, 2], "FP32")
        tensor.set_data_from_numpy(np.array([[1, 2]], np.float32))
        flags = (
            {"sequence_id": self.next_sequence(), "sequence_start": True, "sequence_end": True}
            if model in ("direct", "oldest")
            else {}
        )
        return self.grpc.async_infer(
            model, [tensor], lambda *_: None, client_timeout=deadline_s, **flags
        )

    def block(self, stage: Stage) -> threading.Thread:
        connection = self.send_http(stage.blocker)

        def wait() -> None:
            stage.blocked.append(connection.getresponse().status)
            connection.close()

        thread = threading.Thread(target=wait)
        thread.start()
        return thread

    def metrics(self) -> "Page":
        connection = http.client.HTTPConnection(self.server.url("metrics"), timeout=TIMEOUT_S)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        return Page(text)


@dataclass
class Page:
    """One scrape. Only the lines that are asked for are looked at."""

    text: str

    def value(self, family: str, model: str, more: str = "") -> int:
        pattern = rf'^{family}{{model="{model}",{more}version="1"}} (\d+)$'
        found = re.search(pattern, self.text, re.MULTILINE)
        assert found, pattern
        return int(found[1])

    def pending(self, model: str) -> int:
        return self.value("nv_inference_pending_request_count", model)

    def failures(self, model: str, reason: str) -> int:
        return self.value("nv_inference_request_failure", model, f'reason="{reason}",')


def until(scene: Scene, condition: Callable[[Page], bool], what: str) -> Page:
    """The first page of which it is true."""
    end = time.monotonic() + TIMEOUT_S
    while not condition(page := scene.metrics()):
        assert time.monotonic() < end, f"never: {what}"
    return page


@pytest.fixture(scope="module")
def scene(
    start_module_server: Callable[..., ServerProcess], tmp_path_factory: pytest.TempPathFactory
) -> Scene:
    directory: Path = tmp_path_factory.mktemp("models")
    for name, config in MODELS.items():
        write_model(directory, name, config)
    server = start_module_server(
        f"--model-repository={directory}",
        "--cache-config=local,size=1048576",
        "--rate-limit=execution_count",
    ).wait_started()
    return Scene(server)


@pytest.fixture(scope="module")
def played(scene: Scene) -> Scene:
    """Every stage, to its end."""
    blockers = [scene.block(stage) for stage in STAGES]
    busy = [stage.blocker for stage in STAGES]
    until(scene, lambda page: all(page.pending(name) == 0 for name in busy), "all are busy")
    victims = []
    for stage in STAGES:
        victims.append((scene.send_http(stage.model), scene.send_grpc(stage.model, None)))
        scene.send_grpc(stage.model, DEADLINE_S)
    queues = [stage.waits_in for stage in STAGES]
    until(scene, lambda page: all(page.pending(name) >= 2 for name in queues), "all wait")
    for connection, call in victims:
        connection.close()
        call.cancel()
    cancelled = until(
        scene,
        lambda page: all(page.failures(stage.model, "CANCELED") == 3 for stage in STAGES),
        "three of each stage are counted",
    )
    for stage in STAGES:
        stage.pending = cancelled.pending(stage.waits_in)
        stage.was_busy = not stage.blocked
    for blocker in blockers:
        blocker.join()
    return scene


@pytest.mark.parametrize("stage", STAGES, ids=IDS)
def test_who_waits_is_cancelled_at_once_and_counted(played: Scene, stage: Stage) -> None:
    assert stage.was_busy
    assert stage.pending == 0
    assert stage.blocked == [200]
    page = played.metrics()
    counted = [page.failures(stage.model, reason) for reason in REASONS]
    assert counted == [0, 3, 0, 0]


@pytest.mark.parametrize("model", ["member", "limited"])
def test_what_was_cancelled_ran_nowhere(played: Scene, model: str) -> None:
    expected = {"member": 1, "limited": 0}  # the request in front of the step
    assert played.metrics().value("nv_inference_exec_count", model) == expected[model]


def test_a_resource_that_was_waited_for_is_free_again(played: Scene) -> None:
    assert played.send_http("limited").getresponse().status == 200


def test_who_is_cancelled_while_it_runs_is_counted_too(scene: Scene) -> None:
    connection, call = scene.send_http("executed"), scene.send_grpc("executed", None)
    scene.send_grpc("executed", DEADLINE_S)
    waiting = scene.send_http("executed")
    until(scene, lambda page: page.pending("executed") == 1, "three run and one waits")
    connection.close()
    call.cancel()
    assert waiting.getresponse().status == 200
    page = until(scene, lambda page: page.failures("executed", "CANCELED") == 3, "three counted")
    assert page.value("nv_inference_request_success", "executed") == 1
