"""--max-inflight-bytes over HTTP: bodies count while they are received, whoever receives them."""

import gzip
import json
from typing import Any

import pytest
from fastserve._core import Engine

from tests.python.http.conftest import chunked, identity_model, infer_json, post
from tests.python.http.test_connection import until

LIMIT = 100_000
PATH = "/v2/models/bytes/infer"
GENERATE = "/v2/models/text/generate"


@pytest.fixture
def engine() -> Any:
    engine = Engine(max_inflight_bytes=LIMIT)
    engine.register_identity_backend()
    for spec in (
        identity_model("bytes", data_type="UINT8", max_batch_size=0),
        identity_model("text", data_type="BYTES", max_batch_size=0),
    ):
        engine.publish(spec["name"], [engine.load_model(spec)])
    engine.set_ready(True)
    return engine


def binary_body(size: int) -> tuple[bytes, str]:
    """A body of little more than `size` bytes, and the field that says where its JSON ends."""
    tensor: dict[str, Any] = {"name": "INPUT0", "datatype": "UINT8", "shape": [size]}
    tensor["parameters"] = {"binary_data_size": size}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return head + bytes(size), f"Inference-Header-Content-Length: {len(head)}"


def plain(size: int) -> bytes:
    return post(PATH, *binary_body(size))


def in_chunks(size: int) -> bytes:
    body, field = binary_body(size)
    return chunked(PATH, body, 10_000, field)


FORMS = pytest.mark.parametrize("form", [plain, in_chunks])


@FORMS
async def test_a_body_that_arrives_keeps_others_out_until_its_client_leaves(
    start: Any, connect: Any, engine: Any, form: Any
) -> None:
    front_end = await start()
    arriving = await connect(front_end)
    await arriving.send(form(90_000)[:70_000])
    await until(lambda: engine.inflight_bytes > 60_000)
    late = await connect(front_end)
    await late.send(form(50_000))
    answer = await late.answer()
    assert answer.status == 503
    assert f"of {LIMIT} bytes are in flight (--max-inflight-bytes)" in answer.json()["error"]
    arriving.close()
    await until(lambda: engine.inflight_bytes == 0)
    again = await connect(front_end)
    await again.send(form(50_000))
    assert (await again.answer()).status == 200


@FORMS
async def test_a_body_is_not_counted_beside_its_tensors(
    start: Any, connect: Any, engine: Any, form: Any
) -> None:
    client = await connect(await start())
    for _ in range(3):
        await client.send(form(LIMIT * 9 // 10))
        answer = await client.answer()
        assert answer.status == 200, answer.body[:200]
    await until(lambda: engine.inflight_bytes == 0)


@FORMS
async def test_a_body_beyond_the_whole_limit_is_refused_and_leaves_nothing(
    start: Any, connect: Any, engine: Any, form: Any
) -> None:
    client = await connect(await start())
    await client.send(form(LIMIT + 10_000))
    assert (await client.answer()).status == 503
    await until(lambda: engine.inflight_bytes == 0)


async def test_what_a_compressed_body_expands_to_counts(
    start: Any, connect: Any, engine: Any
) -> None:
    body, field = binary_body(LIMIT * 2)
    client = await connect(await start())
    await client.send(post(PATH, gzip.compress(body), field, "Content-Encoding: gzip"))
    answer = await client.answer()
    assert (answer.status, "--max-inflight-bytes" in answer.json()["error"]) == (503, True)
    assert engine.inflight_bytes == 0


async def test_generate_bodies_count(start: Any, connect: Any, engine: Any) -> None:
    client = await connect(await start())
    for size, status in ((LIMIT * 2, 503), (LIMIT * 8 // 10, 200)):
        await client.send(post(GENERATE, json.dumps({"INPUT0": "x" * size}).encode()))
        assert (await client.answer()).status == status
    await until(lambda: engine.inflight_bytes == 0)


async def test_administrative_bodies_count(start: Any, connect: Any, engine: Any) -> None:
    client = await connect(await start())
    await client.send(post("/v2/repository/index", b" " * (LIMIT * 2)))
    answer = await client.answer()
    assert (answer.status, "--max-inflight-bytes" in answer.json()["error"]) == (503, True)
    assert engine.inflight_bytes == 0


@pytest.mark.parametrize("broken", [b"not JSON", infer_json([1.0])])
async def test_a_refused_body_gives_its_bytes_back(
    start: Any, connect: Any, engine: Any, broken: bytes
) -> None:
    client = await connect(await start())
    await client.send(post(PATH, broken))
    assert (await client.answer()).status == 400
    assert engine.inflight_bytes == 0
