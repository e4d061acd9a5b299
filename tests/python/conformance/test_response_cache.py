"""The response cache as a client sees it: answers, statistics, metrics; local and in Redis."""

import re
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
import tritonclient.http as httpclient

from tests.models.repository import write_repository
from tests.python.conformance.redis_server import RedisServer
from tests.python.conftest import IDENTITY_CONFIG, ServerProcess, write_model

CACHED = IDENTITY_CONFIG + "response_cache { enable: true }\n"
SLOW = CACHED + 'parameters { key: "execute_delay_ms" value { string_value: "300" } }'
LOCAL = "--cache-config=local,size=1048576"
EXPLICIT = ("--model-control-mode=explicit", "--load-model=*")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    write_model(tmp_path, "cached", CACHED)
    write_model(tmp_path, "plain")
    write_model(tmp_path, "slow", SLOW)
    write_repository(tmp_path, ["classifier"])
    config = tmp_path / "classifier" / "config.pbtxt"
    config.write_text(config.read_text() + "response_cache { enable: true }\n")
    return tmp_path


@pytest.fixture
def start(repository: Path, start_server: Callable[..., ServerProcess]):
    def start(*flags: str) -> ServerProcess:
        return start_server(f"--model-repository={repository}", *flags).wait_started()

    return start


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.kill()


def redis_flags(server: RedisServer) -> list[str]:
    return [f"--cache-config=redis,{s}" for s in ("host=127.0.0.1", f"port={server.port}")]


def ask(server: ServerProcess, model: str, value: float, protocol: str = "http") -> np.ndarray:
    module = httpclient if protocol == "http" else grpcclient
    with module.InferenceServerClient(server.url(protocol)) as client:
        x = module.InferInput("INPUT0", [1, 4], "FP32")
        x.set_data_from_numpy(np.full((1, 4), value, np.float32))
        result = client.infer(model, [x], request_id=f"id-{value}")
        assert result.get_output("OUTPUT0") is not None
        return result.as_numpy("OUTPUT0")


def stats(server: ServerProcess, model: str) -> dict:
    with httpclient.InferenceServerClient(server.url("http")) as client:
        found = client.get_inference_statistics(model)["model_stats"][0]
    counts = {key: value["count"] for key, value in found["inference_stats"].items()}
    return counts | {key: found[key] for key in ("inference_count", "execution_count")}


def metric(server: ServerProcess, family: str, model: str) -> int | None:
    with urllib.request.urlopen(f"http://{server.url('metrics')}/metrics") as page:
        text = page.read().decode()
    found = re.search(rf'^{family}{{model="{model}",version="1"}} (\d+)$', text, re.MULTILINE)
    return int(found[1]) if found else None


def test_a_request_of_one_protocol_is_answered_from_the_cache_over_the_other(start):
    server = start(LOCAL)
    for protocol in ("http", "grpc", "http"):
        assert (ask(server, "cached", 3, protocol) == 3).all()
    counts = stats(server, "cached")
    assert (counts["cache_hit"], counts["cache_miss"]) == (2, 1)
    assert (counts["success"], counts["queue"], counts["compute_infer"]) == (3, 3, 1)
    assert (counts["inference_count"], counts["execution_count"]) == (1, 1)
    assert metric(server, "nv_cache_num_hits_per_model", "cached") == 2
    assert metric(server, "nv_cache_num_misses_per_model", "cached") == 1
    assert metric(server, "nv_cache_hit_duration_per_model", "cached") is not None
    assert metric(server, "nv_cache_miss_duration_per_model", "cached") is not None
    assert metric(server, "nv_inference_request_success", "cached") == 3
    assert metric(server, "nv_inference_count", "cached") == 1


def test_grpc_statistics_have_the_cache_fields(start):
    server = start(LOCAL)
    for _ in range(2):
        ask(server, "cached", 1)
    with grpcclient.InferenceServerClient(server.url("grpc")) as client:
        found = client.get_inference_statistics("cached").model_stats[0].inference_stats
    assert (found.cache_hit.count, found.cache_miss.count) == (1, 1)
    assert found.cache_hit.ns > 0


def test_models_that_do_not_ask_are_not_cached(start):
    server = start(LOCAL)
    for _ in range(2):
        ask(server, "plain", 1)
    assert stats(server, "plain")["execution_count"] == 2
    assert metric(server, "nv_cache_num_hits_per_model", "plain") is None


def test_a_reload_forgets_the_responses(start, repository):
    server = start(LOCAL, *EXPLICIT)
    ask(server, "cached", 1)
    (repository / "cached" / "1" / "weights").write_text("new")
    with httpclient.InferenceServerClient(server.url("http")) as client:
        client.load_model("cached")
    ask(server, "cached", 1)
    assert stats(server, "cached")["cache_hit"] == 0
    ask(server, "cached", 1)
    assert stats(server, "cached")["cache_hit"] == 1


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_scores_and_classes_are_cached_apart(start, protocol):
    server = start(LOCAL)
    module = httpclient if protocol == "http" else grpcclient
    x = module.InferInput("INPUT0", [1, 4], "FP32")
    x.set_data_from_numpy(np.array([[1, 4, 2, 3]], np.float32))
    answers = []
    with module.InferenceServerClient(server.url(protocol)) as client:
        for classes in (0, 1, 0, 1, 2):
            output = module.InferRequestedOutput("OUTPUT0", class_count=classes)
            answers.append(client.infer("classifier", [x], outputs=[output]).as_numpy("OUTPUT0"))
    assert answers[0].shape == (1, 4)
    assert (answers[0] == answers[2]).all()
    assert answers[1] == answers[3]
    assert b"dog" in answers[1].flatten()[0]
    assert answers[4].shape == (1, 2)
    assert stats(server, "classifier")["cache_hit"] == 2


def test_identical_requests_at_one_time_are_executed_once(start):
    server = start(LOCAL)
    with ThreadPoolExecutor(8) as pool:
        for answer in pool.map(lambda _: ask(server, "slow", 5, "grpc"), range(8)):
            assert (answer == 5).all()
    counts = stats(server, "slow")
    assert counts["execution_count"] == 1
    assert (counts["cache_hit"], counts["cache_miss"]) == (7, 1)


def test_the_old_flag_is_a_local_cache(start):
    server = start("--response-cache-byte-size=1048576")
    for _ in range(2):
        ask(server, "cached", 1)
    assert stats(server, "cached")["cache_hit"] == 1
    assert server.wait_line("--response-cache-byte-size is deprecated")


def test_a_server_without_a_cache_says_so_and_serves(start):
    server = start()
    for _ in range(2):
        ask(server, "cached", 1)
    assert stats(server, "cached")["execution_count"] == 2
    assert server.wait_line("model 'cached' asks for the response cache")


def test_servers_share_responses_through_redis(start, redis):
    one, other = start(*redis_flags(redis)), start(*redis_flags(redis))
    for server in (one, other):
        server.wait_line("connected to Redis")
    ask(one, "cached", 2)
    ask(one, "cached", 2)  # behind the insertion
    assert (ask(other, "cached", 2, "grpc") == 2).all()
    assert stats(other, "cached")["cache_hit"] == 1
    assert stats(other, "cached")["execution_count"] == 0


def test_other_model_files_have_other_responses_in_redis(start, redis, repository):
    server = start(*redis_flags(redis), *EXPLICIT)
    server.wait_line("connected to Redis")
    ask(server, "cached", 2)
    (repository / "cached" / "1" / "weights").write_text("new")
    with httpclient.InferenceServerClient(server.url("http")) as client:
        client.load_model("cached")
    ask(server, "cached", 2)
    assert stats(server, "cached")["cache_hit"] == 0


def test_a_killed_redis_costs_hits_and_nothing_else(start, redis):
    server = start(*redis_flags(redis))
    server.wait_line("connected to Redis")
    for _ in range(2):
        ask(server, "cached", 1)
    redis.kill()
    server.wait_line("no connection to Redis")
    for value in range(50):
        assert (ask(server, "cached", value, "grpc") == value).all()
    before = stats(server, "cached")
    assert before["cache_hit"] == 1
    redis.start()
    # It finds the server again by itself.
    while len([line for line in server.lines if "connected to Redis" in line]) < 2:
        ask(server, "cached", 1)
    ask(server, "cached", 1)
    ask(server, "cached", 1)
    after = stats(server, "cached")
    assert after["cache_hit"] > before["cache_hit"]
    assert after["fail"] == 0
    assert len([line for line in server.lines if "no connection to Redis" in line]) == 1


def test_a_server_starts_without_its_redis(start, redis):
    redis.kill()
    server = start(*redis_flags(redis))
    for _ in range(2):
        assert (ask(server, "cached", 4) == 4).all()
    assert stats(server, "cached")["execution_count"] == 2
    assert server.stop() == 0
