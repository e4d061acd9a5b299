"""Ensembles and their members in the repository: load order, what comes along, what goes."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import fastserve
import numpy as np
import pytest
from fastserve.control.dependents import dependents
from fastserve.errors import FastserveError, InternalError, InvalidArgumentError

from tests.models.ensembles import chain, ensemble, step
from tests.python.conftest import write_model

INPUT = np.arange(8, dtype=np.float32).reshape(2, 4)
_TENSORS = (["INPUT0 FP32 [-1]"], ["OUTPUT0 FP32 [-1]"])


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., fastserve.InferenceServer]]:
    """Serves identity models and ensembles: name=None, or name=members."""
    servers = []

    def start(flags: dict | None = None, **models: list[str] | None) -> fastserve.InferenceServer:
        for name, members in models.items():
            if members is None:
                write_model(tmp_path, name)
            else:
                write_model(tmp_path, name, ensemble(chain(members), *_TENSORS))
        servers.append(fastserve.InferenceServer(tmp_path, **(flags or {})))
        return servers[-1].start()

    yield start
    for server in servers:
        server.close()


EXPLICIT = {"model_control_mode": "explicit"}


def serves(server: fastserve.InferenceServer, name: str) -> bool:
    return np.array_equal(server.infer(name, {"INPUT0": INPUT})["OUTPUT0"], INPUT)


def loaded(server: fastserve.InferenceServer) -> set[str]:
    return {entry["name"] for entry in server.repository_index(ready_only=True)}


def test_an_ensemble_is_served_whatever_the_order_of_the_names(serve):
    server = serve(a_first=["m", "m"], m=None, z_last=["m", "a_first"])
    assert serves(server, "a_first")
    assert serves(server, "z_last")
    assert server.is_ready()


def test_loading_an_ensemble_loads_its_members_and_theirs(serve):
    server = serve(EXPLICIT, outer=["inner", "m"], inner=["m", "n"], m=None, n=None, other=None)
    server.load_model("outer")
    assert loaded(server) == {"outer", "inner", "m", "n"}
    assert serves(server, "outer")


def test_the_load_flag_brings_the_members_too(serve):
    server = serve({**EXPLICIT, "load_model": ["e"]}, e=["m"], m=None)
    assert loaded(server) == {"e", "m"}
    assert server.model_ready("e")


def test_a_member_that_cannot_load_fails_the_load_and_the_ensemble_is_not_ready(serve, tmp_path):
    server = serve(EXPLICIT, e=["good", "bad"], good=None, bad=None)
    write_model(tmp_path, "bad", "backend: 'nope'")
    with pytest.raises(InvalidArgumentError, match=r"load failed for model 'bad': .*'nope'"):
        server.load_model("e")
    assert not server.model_ready("e")
    write_model(tmp_path, "bad")
    server.load_model("bad")
    assert server.model_ready("e")
    assert serves(server, "e")


def test_a_member_that_is_not_in_the_repository_may_come_later(serve, tmp_path, capfd):
    server = serve(EXPLICIT, e=["m"])
    server.load_model("e")
    assert "ensemble 'e': its member 'm' is not in the repository" in capfd.readouterr().err
    assert not server.model_ready("e")
    with pytest.raises(FastserveError, match="in ensemble 'e', Request for unknown model: 'm'"):
        serves(server, "e")
    write_model(tmp_path, "m")
    server.load_model("m")
    assert serves(server, "e")


def test_a_wrong_graph_fails_the_load_naming_the_step(serve, tmp_path):
    server = serve(EXPLICIT, m=None)
    bad = step("m", {"INPUT0": "nowhere"}, {"OUTPUT0": "OUTPUT0"})
    write_model(tmp_path, "e", ensemble(bad, *_TENSORS))
    with pytest.raises(InvalidArgumentError, match=r"step 1 \(model 'm'\) reads .*'nowhere'"):
        server.load_model("e")


def test_a_member_that_does_not_fit_fails_the_load_naming_the_step(serve, tmp_path):
    server = serve(EXPLICIT, m=None)
    write_model(tmp_path, "e", ensemble(chain(["m"]), ["INPUT0 INT32 [-1]"], ["OUTPUT0 FP32 [-1]"]))
    with pytest.raises(InvalidArgumentError, match=r"step 1 \(model 'm'\): .*INT32 .*FP32"):
        server.load_model("e")


def test_at_start_the_members_are_looked_at_too(serve, tmp_path):
    write_model(tmp_path, "a", ensemble(chain(["m"]), ["INPUT0 INT32 [-1]"], ["OUTPUT0 FP32 [-1]"]))
    with pytest.raises(InternalError, match=r"step 1 \(model 'm'\): .*INT32 .*FP32"):
        serve(m=None)


def test_ensembles_that_contain_each_other_load_and_fail_their_requests(serve):
    server = serve(EXPLICIT, a=["b"], b=["a"])
    server.load_model("a")
    assert not server.model_ready("a")
    with pytest.raises(InvalidArgumentError, match="'a' -> 'b' -> 'a'"):
        serves(server, "a")


def test_an_ensemble_needs_a_version_directory_as_in_triton(serve, tmp_path):
    server = serve(EXPLICIT, e=["m"], m=None)
    (tmp_path / "e" / "1").rmdir()
    with pytest.raises(InvalidArgumentError, match="at least one version must be available"):
        server.load_model("e")


def unload_with_members(server: fastserve.InferenceServer, name: str) -> None:
    asyncio.run(server.control.unload_model(name, {"unload_dependents": True}))


def test_unload_dependents_takes_what_nothing_else_needs(serve):
    server = serve(EXPLICIT, e=["m", "shared"], other=["shared"], m=None, shared=None)
    server.load_model("e")
    server.load_model("other")
    unload_with_members(server, "e")
    assert loaded(server) == {"other", "shared"}
    assert serves(server, "other")
    server.unload_model("other")
    assert loaded(server) == {"shared"}


def test_unload_dependents_must_be_a_boolean(serve):
    server = serve(EXPLICIT, m=None)
    with pytest.raises(InvalidArgumentError, match="'unload_dependents' must be a boolean"):
        asyncio.run(server.control.unload_model("m", {"unload_dependents": "yes"}))


def test_dependents_follow_nested_ensembles_and_spare_what_stays():
    loaded_models = {"e": ["f", "m"], "f": ["n"], "g": ["n"], "m": [], "n": []}
    assert dependents("e", loaded_models) == ["f", "m"]
    assert dependents("m", loaded_models) == []
    del loaded_models["g"]
    assert dependents("e", loaded_models) == ["f", "m", "n"]
    assert dependents("a", {"a": ["b"], "b": ["a"]}) == ["b"]
