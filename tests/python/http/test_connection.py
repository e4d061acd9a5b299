"""Connections: timeouts, stalled readers, disconnects, drain, strictness."""

import asyncio
import json
import socket
from typing import Any

import pytest

from tests.python.http.conftest import chunked, get, infer_json, post

INFER = "/v2/models/identity/infer"
SLOW = "/v2/models/slow/infer"


async def until(condition: Any) -> None:
    """Lets the loop run until the condition holds; the test's own timeout bounds it."""
    while not condition():  # noqa: ASYNC110  the condition lives in the core
        await asyncio.sleep(0.005)


async def test_an_idle_connection_is_closed(start: Any, connect: Any) -> None:
    client = await connect(await start(idle_s=0.05))
    assert await client.at_end()


@pytest.mark.parametrize("sent", [b"P", b"POST /v2 HTTP/1.1\r\nHost: h\r\n", b"GET / HTTP/1.1\r\n"])
async def test_a_head_that_stops_is_refused(start: Any, connect: Any, sent: bytes) -> None:
    client = await connect(await start(head_s=0.05))
    await client.send(sent)
    assert (await client.answer()).status == 408
    assert await client.at_end()


async def test_a_plain_body_that_stops_is_refused(start: Any, connect: Any) -> None:
    client = await connect(await start(body_s=0.05))
    await client.send(post(INFER, infer_json([1.0]))[:-3])
    assert (await client.answer()).status == 408
    assert await client.at_end()


async def test_a_delegated_body_that_stops_ends_the_connection(start: Any, connect: Any) -> None:
    client = await connect(await start(body_s=0.05))
    await client.send(chunked(INFER, infer_json([1.0]), 10)[:-5])
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await client.answer()


async def test_a_slow_model_is_no_timeout(start: Any, connect: Any) -> None:
    client = await connect(await start(idle_s=0.05, head_s=0.05, body_s=0.05))
    await client.send(post(SLOW, infer_json([1.0])))
    assert (await client.answer()).status == 200


@pytest.mark.parametrize(
    "text", [post(SLOW, infer_json([1.0])), chunked(SLOW, infer_json([1.0]), 9)]
)
async def test_a_disconnect_cancels_the_request(
    start: Any, connect: Any, engine: Any, text: bytes
) -> None:
    front_end = await start()
    running = await connect(front_end)  # keeps the model's only instance busy
    await running.send(post(SLOW, infer_json([0.0])))
    client = await connect(front_end)
    await client.send(text)
    await until(lambda: engine.inflight_requests == 2)
    client.close()
    await until(lambda: engine.inflight_requests < 2)
    assert (await running.answer()).status == 200
    stats = json.loads(engine.statistics_json("slow", 1))["model_stats"][0]
    assert stats["inference_count"] == 1


def echo_request(size: int) -> bytes:
    """A request whose answer is as large as itself."""
    tensor: dict[str, Any] = {"name": "INPUT0", "datatype": "UINT8", "shape": [size]}
    tensor["parameters"] = {"binary_data_size": size}
    head = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    text = json.dumps(head).encode()
    fields = f"Inference-Header-Content-Length: {len(text)}"
    return post("/v2/models/bytes/infer", text + b"x" * size, fields)


async def test_a_reader_that_stalls_holds_up_only_itself(
    start: Any, connect: Any, engine: Any
) -> None:
    front_end = await start()
    request = echo_request(4_000_000)
    stalled = socket.create_connection(("127.0.0.1", front_end.port))
    stalled.setblocking(False)
    loop = asyncio.get_running_loop()
    sender = asyncio.create_task(loop.sock_sendall(stalled, request * 20))
    other = await connect(front_end)
    for _ in range(50):
        await other.send(post(INFER, infer_json([1.0])))
        assert (await other.answer()).status == 200
    await until(lambda: engine.inflight_requests == 0)
    stats = json.loads(engine.statistics_json("bytes", 1))["model_stats"]
    assert stats[0]["inference_count"] < 20, "requests behind the unread answers were executed"
    assert not sender.done()
    sender.cancel()
    stalled.close()


async def test_a_reader_that_stalls_too_long_is_dropped(start: Any) -> None:
    front_end = await start(stall_s=0.05)
    stalled = socket.create_connection(("127.0.0.1", front_end.port))
    stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stalled.setblocking(False)
    loop = asyncio.get_running_loop()
    with pytest.raises(ConnectionError):
        await loop.sock_sendall(stalled, echo_request(4_000_000) * 20)
    stalled.close()


async def test_drain_finishes_the_running_request_and_closes_idle_connections(
    start: Any, connect: Any
) -> None:
    front_end = await start()
    idle, busy = await connect(front_end), await connect(front_end)
    await busy.send(post(SLOW, infer_json([1.0])))
    await until(lambda: front_end.busy_connections() == 1)
    stopping = asyncio.create_task(front_end.stop(10.0))
    assert await idle.at_end()
    assert not stopping.done()
    answer = await busy.answer()
    assert answer.status == 200
    assert answer.headers["connection"] == "close"
    await stopping
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", front_end.port)


async def test_drain_ends_a_delegated_request_with_connection_close(
    start: Any, connect: Any
) -> None:
    front_end = await start()
    client = await connect(front_end)
    await client.send(chunked(SLOW, infer_json([1.0]), 9))
    await until(lambda: front_end.busy_connections() == 1)
    stopping = asyncio.create_task(front_end.stop(10.0))
    answer = await client.answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    await stopping


async def test_a_request_that_comes_while_the_engine_stops_is_told_so(
    start: Any, connect: Any, engine: Any
) -> None:
    front_end = await start()
    client = await connect(front_end)
    engine.stop_accepting()
    front_end.begin_drain()
    await client.send(post(INFER, infer_json([1.0])))
    answer = await client.answer()
    assert (answer.status, answer.headers["connection"]) == (503, "close")
    assert await client.at_end()


async def test_drain_ends_after_its_grace(start: Any, connect: Any) -> None:
    front_end = await start()
    client = await connect(front_end)
    await client.send(post(INFER, infer_json([1.0]))[:-1])
    await until(lambda: front_end.busy_connections() == 1)
    await asyncio.wait_for(front_end.stop(0.05), 5.0)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: h\n\n", 400),
        (b"GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00", 400),
        (b"GET / HTTP/3.0\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 5000, 431),
        (b"GET /" + b"a" * 20000, 414),
    ],
)
async def test_what_cannot_be_framed_is_refused_and_closed(
    start: Any, connect: Any, text: bytes, status: int
) -> None:
    client = await connect(await start())
    await client.send(text)
    answer = await client.answer()
    assert answer.status == status
    assert answer.headers["connection"] == "close"
    assert "error" in answer.json()
    assert await client.at_end()


async def test_a_large_body_left_unread_by_a_404_does_not_confuse_the_next_request(
    start: Any, connect: Any
) -> None:
    client = await connect(await start())
    await client.send(post("/v2/nothing", b"GET /v2 HTTP/1.1\r\n\r\n" * 100_000), get("/v2"))
    assert (await client.answer()).status == 404
    assert (await client.answer()).json()["name"] == "triton"


async def test_many_connections_cost_no_speed_and_leave_nothing(start: Any, connect: Any) -> None:
    front_end = await start()
    clients = [await connect(front_end) for _ in range(300)]
    for client in clients:
        await client.send(post(INFER, infer_json([2.0])))
    for client in clients:
        assert (await client.answer()).status == 200
        client.close()
    await until(lambda: front_end.connection_count() == 0)
