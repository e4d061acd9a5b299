"""Inference over HTTP: the core's shortcut and aiohttp's way answer alike."""

import gzip
import json
import struct
import zlib
from typing import Any

import pytest

from tests.python.http.conftest import chunked, get, infer_json, post

INFER = "/v2/models/identity/infer"
VALUES = [1.0, 2.5, -3.0]


def output_of(answer: Any) -> list[float]:
    assert answer.status == 200, answer.body
    value = answer.json()["outputs"][0]
    assert (value["name"], value["datatype"]) == ("OUTPUT0", "FP32")
    return list(value["data"])


async def test_json_infer_answers_its_input(start: Any, connect: Any) -> None:
    client = await connect(await start())
    await client.send(post(INFER, infer_json(VALUES, "id-1")))
    answer = await client.answer()
    assert output_of(answer) == VALUES
    assert answer.json()["id"] == "id-1"
    assert answer.headers["content-type"] == "application/json"


async def test_every_cut_of_the_request_gives_the_same_answer(start: Any, connect: Any) -> None:
    client = await connect(await start())
    text = post(INFER, infer_json([7.0]))
    for cut in range(1, len(text)):
        await client.send(text[:cut], text[cut:])
        assert output_of(await client.answer()) == [7.0], cut


async def test_each_byte_may_come_alone(start: Any, connect: Any) -> None:
    client = await connect(await start())
    text = (
        post(INFER, infer_json([7.0]))
        + get("/v2/health/live")
        + chunked(INFER, infer_json([8.0]), 5)
    )
    await client.send(*(text[i : i + 1] for i in range(len(text))))
    assert output_of(await client.answer()) == [7.0]
    assert (await client.answer()).status == 200
    assert output_of(await client.answer()) == [8.0]


async def test_pipelined_requests_of_all_routes_are_answered_in_order(
    start: Any, connect: Any
) -> None:
    client = await connect(await start())
    requests = b""
    for i in range(20):
        requests += post(INFER, infer_json([float(i)]))
        requests += get("/v2")
        requests += chunked(INFER, infer_json([i + 0.5]), 7)
        requests += post("/v2/nothing", b"unread body")
    await client.send(requests)
    for i in range(20):
        assert output_of(await client.answer()) == [float(i)]
        assert (await client.answer()).json()["name"] == "triton"
        assert output_of(await client.answer()) == [i + 0.5]
        assert (await client.answer()).status == 404


def binary_request(data: bytes) -> tuple[bytes, int]:
    tensor: dict[str, Any] = {"name": "INPUT0", "datatype": "UINT8", "shape": [len(data)]}
    tensor["parameters"] = {"binary_data_size": len(data)}
    header = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    text = json.dumps(header).encode()
    return text + data, len(text)


@pytest.mark.parametrize("size", [1, 1000, 100_000, 4_000_000])
async def test_binary_tensors_go_both_ways(start: Any, connect: Any, size: int) -> None:
    client = await connect(await start())
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    body, json_size = binary_request(data)
    await client.send(
        post("/v2/models/bytes/infer", body, f"Inference-Header-Content-Length: {json_size}")
    )
    answer = await client.answer()
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.body[int(answer.headers["inference-header-content-length"]) :] == data


async def test_a_large_json_body_is_answered_like_a_small_one(start: Any, connect: Any) -> None:
    client = await connect(await start())
    values = [float(i) for i in range(60_000)]
    await client.send(post(INFER, infer_json(values)), post(INFER, infer_json(values)[:-1]))
    assert output_of(await client.answer()) == values
    assert (await client.answer()).status == 400


async def test_an_empty_tensor_comes_back_empty(start: Any, connect: Any) -> None:
    client = await connect(await start())
    body, json_size = binary_request(b"")
    await client.send(
        post("/v2/models/bytes/infer", body, f"Inference-Header-Content-Length: {json_size}")
    )
    output = json.loads((await client.answer()).body)["outputs"][0]
    assert output["shape"] == [0]
    assert output.get("data", []) == []


async def test_strings_with_zero_bytes_and_no_bytes_survive(start: Any, connect: Any) -> None:
    client = await connect(await start())
    data = b"".join(struct.pack("<I", len(item)) + item for item in (b"", b"\x00\xff", b"end"))
    tensor: dict[str, Any] = {"name": "INPUT0", "datatype": "BYTES", "shape": [1, 3]}
    tensor["parameters"] = {"binary_data_size": len(data)}
    text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    await client.send(
        post("/v2/models/text/infer", text + data, f"Inference-Header-Content-Length: {len(text)}")
    )
    answer = await client.answer()
    assert answer.body.endswith(data)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_compression_works_both_ways(start: Any, connect: Any, coding: str) -> None:
    client = await connect(await start())
    body = infer_json(VALUES)
    packed = gzip.compress(body) if coding == "gzip" else zlib.compress(body)
    fields = (f"Content-Encoding: {coding}", f"Accept-Encoding: {coding}")
    await client.send(post(INFER, packed, *fields))
    answer = await client.answer()
    assert answer.headers["content-encoding"] == coding
    answer.body = gzip.decompress(answer.body) if coding == "gzip" else zlib.decompress(answer.body)
    assert output_of(answer) == VALUES


async def test_expect_is_answered_before_the_body_is_sent(start: Any, connect: Any) -> None:
    client = await connect(await start())
    text = post(INFER, infer_json(VALUES), "Expect: 100-continue")
    head_size = text.index(b"\r\n\r\n") + 4
    await client.send(text[:head_size])
    assert (await client.answer()).status == 100
    await client.send(text[head_size:])
    assert output_of(await client.answer()) == VALUES


async def test_http_1_0_closes_unless_asked(start: Any, connect: Any) -> None:
    front_end = await start()
    body = infer_json(VALUES)
    for fields, stays in (("", False), ("Connection: keep-alive\r\n", True)):
        client = await connect(front_end)
        head = f"POST {INFER} HTTP/1.0\r\n{fields}Content-Length: {len(body)}\r\n\r\n"
        await client.send(head.encode() + body)
        answer = await client.answer()
        assert output_of(answer) == VALUES
        assert (answer.headers.get("connection") == "keep-alive") is stays
        if not stays:
            assert await client.at_end()


@pytest.mark.parametrize("as_chunks", [False, True])
@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("/v2/models/none/infer", infer_json([1.0]), 404, "Request for unknown model: 'none'"),
        (INFER.replace("identity", "identity/versions/9"), infer_json([1.0]), 404, "version 9"),
        (INFER, b"{", 400, "parse"),
        (INFER, b"", 400, ""),
        (INFER, b'{"unknown":' + b"[" * 250_000, 400, "nesting depth"),
        (INFER, b'{"inputs":[]}', 400, "expected 1 inputs but got 0"),
    ],
)
async def test_errors_say_what_is_wrong_and_keep_the_connection(
    start: Any, connect: Any, as_chunks: bool, path: str, body: bytes, status: int, text: str
) -> None:
    client = await connect(await start())
    await client.send(chunked(path, body, 65536) if as_chunks else post(path, body))
    answer = await client.answer()
    assert answer.status == status, answer.body
    assert text in answer.json()["error"]
    await client.send(post(INFER, infer_json(VALUES)))
    assert output_of(await client.answer()) == VALUES


@pytest.mark.parametrize("value", ["-1", "99999999999999999999", "abc", "1000", "0x1"])
@pytest.mark.parametrize("as_chunks", [False, True])
async def test_a_bad_inference_header_length_is_refused(
    start: Any, connect: Any, as_chunks: bool, value: str
) -> None:
    client = await connect(await start())
    field = f"Inference-Header-Content-Length: {value}"
    body = infer_json(VALUES)
    await client.send(chunked(INFER, body, 9, field) if as_chunks else post(INFER, body, field))
    answer = await client.answer()
    assert answer.status == 400
    assert value in answer.json()["error"]


async def test_oversize_bodies_are_refused_unread(start: Any, connect: Any) -> None:
    front_end = await start(max_input=1000)
    for text in (
        b"POST %s HTTP/1.1\r\nContent-Length: 1001\r\n\r\n" % INFER.encode(),
        chunked(INFER, b"x" * 1001, 100),
        post(INFER, gzip.compress(b" " * 1001), "Content-Encoding: gzip"),
    ):
        client = await connect(front_end)
        await client.send(text)
        answer = await client.answer()
        assert answer.status == 400
        assert "exceeds the maximum allowed input size of 1000 bytes" in answer.json()["error"]


async def test_a_decompression_bomb_is_stopped(start: Any, connect: Any) -> None:
    front_end = await start(max_input=100_000)
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < 100_000
    client = await connect(front_end)
    await client.send(post(INFER, bomb, "Content-Encoding: gzip"))
    assert (await client.answer()).status == 400


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
async def test_a_body_that_is_not_what_it_says_is_refused(
    start: Any, connect: Any, coding: str
) -> None:
    client = await connect(await start())
    await client.send(post(INFER, b"not compressed", f"Content-Encoding: {coding}"))
    answer = await client.answer()
    assert answer.status == 400
    assert coding in answer.json()["error"]


async def test_more_chunks_than_anyone_sends_are_read_in_bounded_memory(
    start: Any, connect: Any
) -> None:
    client = await connect(await start())
    body = infer_json([1.0]) + b" " * 70_000
    await client.send(chunked(INFER, body, 1))
    assert output_of(await client.answer()) == [1.0]
