"""Load, unload and reload: states, reasons, side-by-side reload, serialised races."""

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import fastserve
import numpy as np
import pytest
from fastserve.errors import (
    FastserveError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
    UnsupportedError,
)

from tests.python.conftest import IDENTITY_CONFIG, write_model

INPUT = np.arange(8, dtype=np.float32).reshape(2, 4)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[fastserve.InferenceServer]:
    write_model(tmp_path, "m")
    with fastserve.InferenceServer(tmp_path, model_control_mode="explicit") as started:
        yield started


def touch(directory: Path) -> None:
    """Makes the model's files look changed, however coarse the clock of the file system is."""
    path = directory / "config.pbtxt"
    later = path.stat().st_mtime_ns + 1_000_000_000
    os.utime(path, ns=(later, later))


def serves(server: fastserve.InferenceServer, name: str = "m") -> bool:
    return np.array_equal(server.infer(name, {"INPUT0": INPUT})["OUTPUT0"], INPUT)


def index(server: fastserve.InferenceServer) -> dict[str, tuple[str, str]]:
    entries = server.repository_index()
    return {entry["name"]: (entry.get("state", ""), entry.get("reason", "")) for entry in entries}


def test_a_model_is_known_before_it_is_loaded_and_served_after(server):
    assert server.repository_index() == [{"name": "m"}]
    with pytest.raises(NotFoundError, match="Request for unknown model: 'm' is not found"):
        serves(server)
    server.load_model("m")
    assert serves(server)
    assert server.repository_index() == [{"name": "m", "version": "1", "state": "READY"}]
    assert server.repository_index(ready_only=True) == server.repository_index()


def test_an_unloaded_model_says_so_and_can_come_back(server):
    server.load_model("m")
    server.unload_model("m")
    assert index(server) == {"m": ("UNAVAILABLE", "unloaded")}
    assert server.repository_index(ready_only=True) == []
    with pytest.raises(
        FastserveError, match="Request for unknown model: 'm' has no available versions"
    ):
        serves(server)
    assert server.is_ready()
    server.load_model("m")
    assert serves(server)


def test_an_unload_waits_for_running_requests_in_the_background(server, tmp_path):
    delay = 'parameters { key: "execute_delay_ms" value { string_value: "700" } }'
    write_model(tmp_path, "slow", IDENTITY_CONFIG + delay)
    server.load_model("slow")
    answers = []
    thread = threading.Thread(target=lambda: answers.append(serves(server, "slow")))
    thread.start()
    while not server.engine.inflight_requests:
        pass
    server.unload_model("slow")
    assert index(server)["slow"] == ("UNLOADING", "")
    assert server.is_ready()
    with pytest.raises(NotFoundError):
        serves(server, "slow")
    thread.join()
    assert answers == [True]
    while index(server)["slow"][0] == "UNLOADING":
        pass
    assert index(server)["slow"] == ("UNAVAILABLE", "unloaded")
    assert server.is_ready()


def test_a_caller_that_goes_away_does_not_undo_its_load(server):
    async def leave() -> None:
        loading = asyncio.ensure_future(server.control.load_model("m"))
        await asyncio.sleep(0)
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading

    asyncio.run(leave())
    while not server.model_ready("m"):
        pass
    assert serves(server)
    assert server.is_ready()


def test_unloading_what_was_never_loaded_is_no_error(server):
    server.unload_model("m")
    server.unload_model("never_heard_of")
    assert server.repository_index() == [{"name": "m"}]


def test_an_unknown_model_fails_with_tritons_text_and_leaves_no_trace(server):
    with pytest.raises(
        InternalError, match="failed to load 'no', failed to poll from model repository"
    ):
        server.load_model("no")
    assert index(server) == {"m": ("", "")}
    assert server.is_ready()


@pytest.mark.parametrize("name", ["", " ", "..", "../m", "m/../m"])
def test_a_name_that_is_no_name_is_refused(server, name):
    with pytest.raises(InvalidArgumentError):
        server.load_model(name)
    with pytest.raises(InvalidArgumentError):
        server.unload_model(name)


def test_a_model_that_fails_to_load_is_unavailable_with_the_reason(server, tmp_path):
    write_model(
        tmp_path, "broken", IDENTITY_CONFIG.replace("max_batch_size: 8", "max_batch_size: -8")
    )
    with pytest.raises(
        InvalidArgumentError, match="load failed for model 'broken': 'max_batch_size' must be"
    ):
        server.load_model("broken")
    state, reason = index(server)["broken"]
    assert state == "UNAVAILABLE"
    assert "max_batch_size" in reason
    assert not server.is_ready()
    server.unload_model("broken")
    assert server.is_ready()


def test_a_failed_reload_keeps_the_old_version_serving(server, tmp_path):
    server.load_model("m")
    (tmp_path / "m" / "config.pbtxt").write_text("max_batch_size: oops")
    with pytest.raises(InvalidArgumentError, match=r"config.pbtxt:1:17"):
        server.load_model("m")
    assert serves(server)
    assert index(server)["m"] == ("READY", "")
    assert server.model_config("m")["max_batch_size"] == 8


def test_a_reload_takes_over_what_changed(server, tmp_path):
    server.load_model("m")
    write_model(
        tmp_path, "m", IDENTITY_CONFIG.replace("max_batch_size: 8", "max_batch_size: 4"), version=2
    )
    touch(tmp_path / "m")
    server.load_model("m")
    assert server.model_config("m")["max_batch_size"] == 4
    assert server.model_metadata("m")["versions"] == ["2"]
    assert server.model_ready("m", "2")
    assert not server.model_ready("m", "1")
    assert [(e["version"], e["state"]) for e in server.repository_index()] == [
        ("1", "UNAVAILABLE"),
        ("2", "READY"),
    ]


def test_loading_what_did_not_change_keeps_the_statistics(server):
    server.load_model("m")
    serves(server)
    before = server.model_statistics("m")
    server.load_model("m")
    assert server.model_statistics("m") == before


def test_no_request_is_lost_while_the_model_is_reloaded(server, tmp_path):
    server.load_model("m")
    stop = threading.Event()
    outcomes: list[bool | Exception] = []

    def ask() -> None:
        while not stop.is_set():
            try:
                outcomes.append(serves(server))
            except FastserveError as error:
                outcomes.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        touch(tmp_path / "m")
        server.load_model("m")
    stop.set()
    for thread in threads:
        thread.join()
    assert outcomes
    assert all(outcome is True for outcome in outcomes)


def test_loads_and_unloads_in_a_race_end_in_one_of_the_two_states(server, tmp_path):
    def load() -> None:
        touch(tmp_path / "m")
        server.load_model("m")

    threads = [
        threading.Thread(target=load if number % 2 else lambda: server.unload_model("m"))
        for number in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert index(server)["m"][0] in ("READY", "UNAVAILABLE", "UNLOADING")
    server.load_model("m")
    assert serves(server)


def test_load_overrides_are_unsupported_and_unknown_parameters_refused(server):
    for key in ("config", "file:1/model.onnx"):
        with pytest.raises(UnsupportedError, match=f"'{key}' is not offered yet; write the files"):
            asyncio.run(server.control.load_model("m", {key: "x"}))
    with pytest.raises(InvalidArgumentError, match="unknown load parameter 'nope'"):
        asyncio.run(server.control.load_model("m", {"nope": "x"}))


def test_without_explicit_control_load_and_unload_are_not_allowed(tmp_path):
    write_model(tmp_path, "m")
    with fastserve.InferenceServer(tmp_path) as server:
        for operation in (server.load_model, server.unload_model):
            with pytest.raises(
                UnavailableError, match="explicit model load / unload is not allowed"
            ):
                operation("m")
        assert serves(server)


def test_one_broken_model_does_not_stop_the_others(tmp_path):
    write_model(tmp_path, "good")
    write_model(tmp_path, "bad", "backend: 'nope'")
    with fastserve.InferenceServer(tmp_path, exit_on_error=False) as server:
        assert serves(server, "good")
        assert not server.is_ready()
    with fastserve.InferenceServer(tmp_path, exit_on_error=False, strict_readiness=False) as server:
        assert server.is_ready()
    with pytest.raises(InternalError, match="unable to find backend 'nope'"):
        fastserve.InferenceServer(tmp_path).start()


def test_a_name_in_two_repositories_is_not_loaded(tmp_path):
    for repository in ("a", "b"):
        write_model(tmp_path / repository, "m")
    paths = [tmp_path / "a", tmp_path / "b"]
    with (
        fastserve.InferenceServer(paths, model_control_mode="explicit") as server,
        pytest.raises(InternalError, match="more than one repository"),
    ):
        server.load_model("m")


def test_a_missing_repository_is_named(tmp_path):
    with pytest.raises(InvalidArgumentError, match="no_such_dir is not a directory"):
        fastserve.InferenceServer(tmp_path / "no_such_dir")
    with pytest.raises(UnsupportedError, match="s3://bucket/path"):
        fastserve.InferenceServer("s3://bucket/path")
