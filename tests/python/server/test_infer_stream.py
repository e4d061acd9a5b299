"""InferenceServer.infer_stream: many responses, in threads and under asyncio."""

import asyncio
import json
from collections.abc import Iterator

import fastserve
import numpy as np
import pytest
from fastserve.errors import InvalidArgumentError, UnsupportedError

from tests.python.conftest import write_model
from tests.python.repeat import REPEAT_CONFIG, repeat_arrays

_HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[fastserve.InferenceServer]:
    directory = tmp_path_factory.mktemp("models")
    write_model(directory, "repeat", REPEAT_CONFIG)
    write_model(directory, "echo")
    with fastserve.InferenceServer(directory) as started:
        yield started


def values(results) -> list[int]:
    return [int(result["OUT"][0]) for result in results]


def wait_idle(server: fastserve.InferenceServer) -> None:
    assert server.engine.wait_idle(30.0)


def test_the_responses_come_one_by_one(server):
    assert values(server.infer_stream("repeat", repeat_arrays([3, 2, 1]))) == [3, 2, 1]
    assert values(server.infer_stream("repeat", repeat_arrays([]))) == []


def test_a_model_that_answers_once_gives_one_response(server):
    one = np.ones((1, 2), np.float32)
    (result,) = server.infer_stream("echo", {"INPUT0": one})
    assert result["OUTPUT0"].tolist() == one.tolist()


def test_an_error_ends_the_iteration(server):
    stream = server.infer_stream("repeat", repeat_arrays([1, 2], [0]))
    with pytest.raises(InvalidArgumentError, match="they must be as many"):
        next(stream)
    assert list(stream) == []


def test_closing_the_iterator_cancels_the_request(server):
    stream = server.infer_stream("repeat", repeat_arrays([1, 2], [0, _HOUR_MS]))
    assert next(stream)["OUT"].tolist() == [1]
    stream.close()
    wait_idle(server)


def test_a_reader_that_stops_holds_the_model_back(server):
    count = 100_000
    stream = server.infer_stream("repeat", repeat_arrays(range(count)))
    assert next(stream)["OUT"].tolist() == [0]
    quick = server.infer_stream("repeat", repeat_arrays(range(2000)))
    assert values(quick) == list(range(2000))
    statistics = json.loads(server.model_statistics("repeat"))["model_stats"][0]
    assert statistics["response_stats"]["1023"]["success"]["count"] < count / 2
    assert values(stream) == list(range(1, count))


def test_infer_refuses_a_decoupled_model(server):
    with pytest.raises(UnsupportedError, match="use infer_stream"):
        server.infer("repeat", repeat_arrays([1]))


async def test_responses_come_under_asyncio(server):
    async def run(first: int) -> None:
        wanted = list(range(first, first + 100))
        stream = server.infer_stream_async("repeat", repeat_arrays(wanted))
        assert values([result async for result in stream]) == wanted

    await asyncio.gather(*(run(1000 * index) for index in range(16)))


async def test_leaving_an_asyncio_stream_cancels_the_request(server):
    stream = server.infer_stream_async("repeat", repeat_arrays([1, 2], [0, _HOUR_MS]))
    async for result in stream:
        assert result["OUT"].tolist() == [1]
        break
    await stream.aclose()
    wait_idle(server)


async def test_infer_async_refuses_a_decoupled_model(server):
    with pytest.raises(UnsupportedError, match="use infer_stream"):
        await server.infer_async("repeat", repeat_arrays([1]))
