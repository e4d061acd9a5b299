"""The generate extension: mapping rules, server-sent events, slow and lost clients."""

import asyncio
import json
import socket
import struct
from typing import Any

import pytest

from tests.python.http.conftest import get, post
from tests.python.http.test_connection import until
from tests.python.repeat import repeat_json

GENERATE = "/v2/models/{}/generate"
STREAM = "/v2/models/{}/generate_stream"
ONLY_ONE = "generate expects model to produce exactly 1 response"


def request(path: str, members: Any, *fields: str) -> bytes:
    body = members if isinstance(members, bytes) else json.dumps(members).encode()
    return post(path, body, *fields)


async def events(client: Any) -> tuple[dict[str, str], list[Any]]:
    """The head and the events of a chunked answer."""
    head = (await client.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in map(_field, head[1:])}
    headers["status"] = head[0].split()[1]
    text = b""
    while size := int(await client.reader.readline(), 16):
        text += await client.reader.readexactly(size)
        assert await client.reader.readline() == b"\r\n"
    await client.reader.readline()
    parts = text.split(b"\n\n")
    assert parts.pop() == b""
    assert all(part.startswith(b"data: ") for part in parts)
    return headers, [json.loads(part[6:]) for part in parts]


def _field(line: str) -> tuple[str, str, str]:
    return line.partition(":")


async def test_a_value_is_a_tensor_of_one_element_and_comes_back_as_a_value(
    start: Any, connect: Any
) -> None:
    client = await connect(await start())
    await client.send(request(GENERATE.format("text"), {"INPUT0": "hi", "id": "7", "other": 3}))
    answer = await client.answer()
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"id": "7", "model_name": "text", "model_version": "1", "OUTPUT0": "hi"}


@pytest.mark.parametrize(
    ("value", "output"),
    [
        ([1.5, 2.5], [1.5, 2.5]),
        ([[1, 2], [3, 4]], [1, 2, 3, 4]),
        (7, 7),
        ([7], 7),
    ],
)
async def test_an_array_comes_back_as_a_flat_array(
    start: Any, connect: Any, value: Any, output: Any
) -> None:
    client = await connect(await start())
    await client.send(request(GENERATE.format("identity"), {"INPUT0": value}))
    assert (await client.answer()).json()["OUTPUT0"] == output


async def test_inputs_may_stand_among_the_parameters(start: Any, connect: Any) -> None:
    client = await connect(await start())
    members = {"parameters": {"INPUT0": "inner", "temperature": 0.5}}
    await client.send(request(GENERATE.format("text"), members))
    assert (await client.answer()).json()["OUTPUT0"] == "inner"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{}", "expected 1 inputs but got 0"),
        (b'{"INPUT0":1}', "attempt to access JSON non-string as string"),
        (b'{"INPUT0":{"a":"b"}}', "attempt to access JSON non-string as string"),
        (b'{"INPUT0":"a","INPUT0":"b"}', "input 'INPUT0' already exists in request"),
        (b'{"INPUT0":"a","more":{"b":1}}', "parameter 'more' has invalid type"),
        (b'{"INPUT0":"a","parameters":1}', "Expected JSON object for keyword: 'parameters'"),
        (
            b'{"INPUT0":"a","parameters":{"x":{"y":1}}}',
            "Converting keyword: 'parameters': parameter 'x' has invalid type.",
        ),
        (b'{"INPUT0":[["a"],["b","c"]]}', "nested arrays must have equal lengths"),
        (b"[1]", "attempt to access JSON non-object as object"),
        (b'{"INPUT0":"a"', "failed to parse the request JSON buffer"),
        (b'{"INPUT0":' + b"[" * 101, "JSON nesting depth exceeds maximum allowed limit (100)"),
    ],
)
@pytest.mark.parametrize("path", [GENERATE, STREAM])
async def test_a_wrong_request_is_a_json_error(
    start: Any, connect: Any, path: str, body: bytes, message: str
) -> None:
    client = await connect(await start())
    await client.send(request(path.format("text"), body))
    answer = await client.answer()
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/json"
    assert message in answer.json()["error"]


async def test_an_unknown_model_and_version_are_not_found(start: Any, connect: Any) -> None:
    client = await connect(await start())
    await client.send(request(GENERATE.format("nobody"), {}))
    assert (await client.answer()).status == 404
    await client.send(request("/v2/models/text/versions/9/generate", {"INPUT0": "x"}))
    assert (await client.answer()).status == 404


async def test_every_response_is_an_event(start: Any, connect: Any) -> None:
    client = await connect(await start())
    await client.send(request(STREAM.format("repeat"), repeat_json([5, 6, 7], id="r")))
    headers, answers = await events(client)
    assert headers["status"] == "200"
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert [answer["OUT"] for answer in answers] == [5, 6, 7]
    assert [answer["IDX"] for answer in answers] == [0, 1, 2]
    assert all(answer["id"] == "r" and answer["model_name"] == "repeat" for answer in answers)
    await client.send(get("/v2/health/live"))  # the connection goes on
    assert (await client.answer()).status == 200


async def test_no_response_is_an_empty_stream(start: Any, connect: Any) -> None:
    client = await connect(await start())
    await client.send(request(STREAM.format("repeat"), repeat_json([])))
    headers, answers = await events(client)
    assert (headers["status"], answers) == ("200", [])


async def test_a_model_that_answers_once_streams_one_event(start: Any, connect: Any) -> None:
    client = await connect(await start())
    await client.send(request(STREAM.format("text"), {"INPUT0": "a\nb"}))
    _, answers = await events(client)
    assert [answer["OUTPUT0"] for answer in answers] == ["a\nb"]


@pytest.mark.parametrize("values", [[], [1, 2], list(range(1000))])
async def test_generate_takes_exactly_one_response(
    start: Any, connect: Any, values: list[int]
) -> None:
    client = await connect(await start())
    await client.send(request(GENERATE.format("repeat"), repeat_json(values)))
    answer = await client.answer()
    assert answer.status == 400
    assert ONLY_ONE in answer.json()["error"]
    await client.send(request(GENERATE.format("repeat"), repeat_json([4])))
    assert (await client.answer()).json()["OUT"] == 4


async def test_an_error_of_the_model_is_an_event_with_its_status(start: Any, connect: Any) -> None:
    client = await connect(await start())
    await client.send(request(STREAM.format("repeat"), repeat_json([1, 2], delays_ms=[0])))
    headers, answers = await events(client)
    assert headers["status"] == "400"
    assert "they must be as many" in answers[0]["error"]


async def test_plain_infer_refuses_a_decoupled_model(start: Any, connect: Any) -> None:
    client = await connect(await start())
    await client.send(request("/v2/models/repeat/infer", {"inputs": []}))
    answer = await client.answer()
    assert answer.status == 501
    assert "doesn't support models with decoupled transaction policy" in answer.json()["error"]


@pytest.mark.parametrize("reset", [False, True])
async def test_a_client_that_leaves_in_the_middle_cancels_its_request(
    start: Any, connect: Any, engine: Any, reset: bool
) -> None:
    front_end = await start()
    client = await connect(front_end)
    members = repeat_json([1, 2, 3], delays_ms=[0, 0, 3_600_000])
    await client.send(request(STREAM.format("repeat"), members))
    await client.reader.readuntil(b'"IDX":1')
    assert engine.inflight_requests == 1
    if reset:
        linger = struct.pack("ii", 1, 0)
        client.writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, linger
        )
    client.close()
    await until(lambda: engine.inflight_requests == 0)
    await until(lambda: front_end.connection_count() == 0)
    other = await connect(front_end)
    await other.send(get("/v2/health/live"))
    assert (await other.answer()).status == 200


async def test_a_slow_reader_holds_its_own_model_back_and_nobody_else(
    start: Any, connect: Any, engine: Any
) -> None:
    front_end = await start()
    slow = await connect(front_end)
    count = 200_000  # 15 MB of text: more than every buffer on the way
    slow.writer.transport.pause_reading()
    await slow.send(request(STREAM.format("repeat"), repeat_json(range(count))))
    quick = await connect(front_end)
    for value in range(50):
        await quick.send(request(STREAM.format("repeat"), repeat_json([value])))
        _, answers = await events(quick)
        assert answers[0]["OUT"] == value
    stats = json.loads(engine.statistics_json("repeat"))["model_stats"][0]
    last = stats["response_stats"].get("1023")  # and all later ones; none were made yet
    assert last is None or last["success"]["count"] < count - 1023
    slow.writer.transport.resume_reading()
    _, answers = await events(slow)
    assert [answer["OUT"] for answer in answers] == list(range(count))


async def test_streams_side_by_side_do_not_mix(start: Any, connect: Any) -> None:
    front_end = await start()

    async def run(first: int) -> None:
        client = await connect(front_end)
        values = list(range(first, first + 100))
        await client.send(request(STREAM.format("repeat"), repeat_json(values)))
        _, answers = await events(client)
        assert [answer["OUT"] for answer in answers] == values

    await asyncio.gather(*(run(1000 * index) for index in range(16)))


async def test_a_drain_ends_the_connection_after_the_stream(start: Any, connect: Any) -> None:
    front_end = await start()
    client = await connect(front_end)
    await client.send(request(STREAM.format("repeat"), repeat_json([1, 2], delays_ms=[0, 200])))
    await client.reader.readuntil(b'"IDX":0}')
    front_end.begin_drain()
    rest = await client.reader.read()
    assert b'"IDX":1}' in rest
    assert rest.endswith(b"0\r\n\r\n")
