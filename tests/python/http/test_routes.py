"""Every other endpoint: paths, methods, bodies, statuses."""

import json
from typing import Any

import aiohttp
import pytest
from fastserve.errors import InternalError
from fastserve.http import MetricsFrontEnd

from tests.python.http.conftest import TestControl, chunked, get, post


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2", {"name": "triton", "version": "0", "extensions": []}),
        ("/v2/models/m", {"name": "m", "versions": [""]}),
        ("/v2/models/m/versions/3", {"name": "m", "versions": ["3"]}),
        ("/v2/models/a%20b%C3%A9", {"name": "a bé", "versions": [""]}),
        ("/v2/models/m/config", {"name": "m", "version": ""}),
        ("/v2/models/m/versions/3/config", {"name": "m", "version": "3"}),
        ("/v2/logging", {"log_info": True}),
        ("/v2/repository/index", [{"name": "identity", "state": "READY", "ready_only": False}]),
        ("/v2/systemsharedmemory/status", []),
        ("/v2/cudasharedmemory/status", []),
        ("/v2?a=b", {"name": "triton", "version": "0", "extensions": []}),
    ],
)
async def test_get_answers_json(start: Any, connect: Any, path: str, expected: Any) -> None:
    client = await connect(await start())
    await client.send(get(path))
    answer = await client.answer()
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json() == expected


@pytest.mark.parametrize(
    "path",
    ["/v2/models/stats", "/v2/models/identity/stats", "/v2/models/identity/versions/1/stats"],
)
async def test_statistics_are_the_cores(start: Any, connect: Any, path: str) -> None:
    client = await connect(await start())
    await client.send(get(path))
    names = [model["name"] for model in (await client.answer()).json()["model_stats"]]
    assert "identity" in names


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/health/live", 200),
        ("/v2/health/ready", 200),
        ("/v2/models/identity/ready", 200),
        ("/v2/models/identity/versions/1/ready", 200),
        ("/v2/models/identity/versions/2/ready", 400),
        ("/v2/models/none/ready", 400),
    ],
)
async def test_probes(start: Any, connect: Any, path: str, status: int) -> None:
    client = await connect(await start())
    await client.send(get(path))
    assert (await client.answer()).status == status


async def test_not_ready_is_a_400(start: Any, connect: Any, engine: Any) -> None:
    client = await connect(await start())
    engine.set_ready(False)
    await client.send(get("/v2/health/ready"))
    assert (await client.answer()).status == 400


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v2/", 404),
        ("GET", "/v1/models", 404),
        ("GET", "/v2/models/m/versions/abc", 404),
        ("GET", "/v2/models//ready", 404),
        ("POST", "/v2", 405),
        ("HEAD", "/v2/health/live", 405),
        ("DELETE", "/v2/models/m", 405),
        ("GET", "/v2/models/m/infer", 405),
        ("PUT", "/v2/logging", 405),
        ("GET", "/v2/systemsharedmemory/region/r/status", 404),
        ("POST", "/v2/systemsharedmemory/status", 405),
        ("POST", "/v2/systemsharedmemory/unregister", 501),
        ("POST", "/v2/cudasharedmemory/region/r/register", 501),
        ("GET", "/v2/trace/setting", 501),
        ("POST", "/v2/models/m/generate", 404),
        ("GET", "/v2/models/m/generate_stream", 405),
        ("POST", "/v2/repository/r/index", 501),
        ("GET", "/v2/models/unknown", 404),
        ("POST", "/v2/models/m/versions/0/infer", 400),
    ],
)
async def test_errors_carry_their_status(
    start: Any, connect: Any, method: str, path: str, status: int
) -> None:
    client = await connect(await start())
    await client.send(f"{method} {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n".encode())
    answer = await client.answer(head_request=method == "HEAD")
    assert answer.status == status
    if method != "HEAD":
        assert list(answer.json()) == ["error"]
    if path == "/v2/":
        assert answer.json() == {"error": "Not Found"}


async def test_load_and_unload_pass_their_parameters(start: Any, connect: Any) -> None:
    front_end = await start()
    client = await connect(front_end)
    parameters = {"config": "{}", "file:1/model.onnx": "AAAA"}
    await client.send(
        post("/v2/repository/models/m/load", b""),
        post("/v2/repository/models/a%2Fb/load", json.dumps({"parameters": parameters}).encode()),
        b"POST /v2/repository/models/m/unload HTTP/1.1\r\nHost: h\r\n\r\n",
    )
    assert [(await client.answer()).status for _ in range(3)] == [200, 200, 200]
    assert front_end.control.calls == [("load m", {}), ("load a/b", parameters), ("unload m", {})]


@pytest.mark.parametrize("body", [b"{", b"[]", b"[" * 100_000, b'{"ready": 1}', b"\xff"])
async def test_malformed_administrative_bodies_are_refused(
    start: Any, connect: Any, body: bytes
) -> None:
    client = await connect(await start())
    await client.send(post("/v2/repository/index", body))
    answer = await client.answer()
    assert answer.status == 400
    assert "error" in answer.json()


@pytest.mark.parametrize(
    "path",
    [
        "/v2/repository/index",
        "/v2/repository/models/m/load",
        "/v2/repository/models/m/unload",
        "/v2/logging",
    ],
)
@pytest.mark.parametrize(
    "body",
    [
        rb'{"\ud800": 1}',
        rb'{"parameters": {"\uDC00": "x"}}',
        rb'{"log_format": ["\ud800\ud800"]}',
        b'{"\xed\xa0\x80": 1}',
        '{"ready": true}'.encode("utf-16"),
    ],
)
async def test_text_that_is_not_unicode_is_refused(
    start: Any, connect: Any, path: str, body: bytes
) -> None:
    front_end = await start()
    client = await connect(front_end)
    await client.send(post(path, body))
    answer = await client.answer()
    assert answer.status == 400
    assert answer.json()["error"].startswith("failed to parse the request JSON buffer: 'utf-8'")
    assert front_end.control.calls == []
    assert front_end.control.settings == {"log_info": True}


async def test_both_halves_of_a_surrogate_pair_are_one_character(start: Any, connect: Any) -> None:
    front_end = await start()
    client = await connect(front_end)
    body = rb'{"parameters": {"\ud83d\ude00": "\\ud800"}}'
    await client.send(post("/v2/repository/models/m/load", body))
    assert (await client.answer()).status == 200
    assert front_end.control.calls == [("load m", {"\U0001f600": "\\ud800"})]


async def test_an_error_about_a_name_that_is_no_text_is_still_json(
    start: Any, connect: Any, monkeypatch: Any
) -> None:
    front_end = await start()

    async def fail(ready_only: bool) -> Any:
        raise InternalError(f"cannot read '\udcff' ({ready_only})")

    monkeypatch.setattr(front_end.control, "repository_index", fail)
    client = await connect(front_end)
    await client.send(get("/v2/repository/index"))
    answer = await client.answer()
    assert answer.status == 500
    assert answer.json() == {"error": "cannot read '?' (False)"}


@pytest.mark.parametrize(
    "path",
    ["/v2/repository/index", "/v2/repository/models/m/load", "/v2/logging"],
)
async def test_administrative_bodies_above_1_mib_are_refused(
    start: Any, connect: Any, path: str
) -> None:
    limit = 1 << 20
    front_end = await start()
    client = await connect(front_end)
    await client.send(post(path, b"{}" + b" " * (limit - 2)))
    assert (await client.answer()).status == 200
    for request in (post(path, b" " * (limit + 1)), chunked(path, b" " * (limit + 1), limit + 1)):
        client = await connect(front_end)
        await client.send(request)
        answer = await client.answer()
        assert answer.status == 400
        assert "bytes exceeds the maximum allowed size of 1048576 bytes" in answer.json()["error"]
        assert "size of 1048577 bytes" in answer.json()["error"]


async def test_a_lower_input_limit_holds_for_administrative_bodies(
    start: Any, connect: Any
) -> None:
    client = await connect(await start(max_input=1000))
    await client.send(post("/v2/logging", b" " * 1001))
    answer = await client.answer()
    assert answer.status == 400
    assert "size of 1001 bytes exceeds" in answer.json()["error"]
    assert "--http-max-input-size" in answer.json()["error"]


async def test_the_index_may_be_limited_to_ready_models(start: Any, connect: Any) -> None:
    client = await connect(await start())
    await client.send(post("/v2/repository/index", b'{"ready": true}'))
    assert (await client.answer()).json()[0]["ready_only"] is True


async def test_log_settings_are_updated(start: Any, connect: Any) -> None:
    client = await connect(await start())
    await client.send(post("/v2/logging", b'{"log_info": false}'))
    assert (await client.answer()).json() == {"log_info": False}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/metrics", 200),
        ("GET", "/metrics/", 200),
        ("POST", "/metrics", 405),
        ("GET", "/", 404),
    ],
)
async def test_metrics_page(engine: Any, method: str, path: str, status: int) -> None:
    front_end = MetricsFrontEnd(TestControl(engine))
    await front_end.start("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{front_end.port}{path}"
            async with session.request(method, url) as response:
                assert response.status == status
                if status == 200:
                    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
                    assert await response.text() == "# HELP nothing\n"
    finally:
        await front_end.stop()
