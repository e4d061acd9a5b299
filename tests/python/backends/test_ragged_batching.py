"""Requests of different shapes share batches of real ONNX models, and get their own answers."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastserve import InferenceServer
from fastserve.errors import FastserveError, InvalidArgumentError

from tests.models import write_repository
from tests.models.ragged import CONFIGS
from tests.python.conftest import write_model

ECHO = """backend: "identity"
max_batch_size: 2
dynamic_batching { max_queue_delay_microseconds: 60000000 }
input [ { name: "INPUT" data_type: TYPE_FP32 dims: [ -1 ] allow_ragged_batch: true } ]
output [ { name: "OUTPUT" data_type: TYPE_FP32 dims: [ -1 ] } ]
batch_output [ { kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: "OUTPUT"
                 source_input: "INPUT" } ]
"""
BIAS = """backend: "onnxruntime"
input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [ -1, 4 ] },
        { name: "bias" data_type: TYPE_FP32 dims: [ 4 ] optional: true } ]
output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ -1, 4 ] } ]
"""
SINGLE = CONFIGS["segments"].replace(
    "dynamic_batching { max_queue_delay_microseconds: 60000000 }", ""
)
WARM = """model_warmup { name: "warm" batch_size: 2 inputs { key: "INPUT"
  value { data_type: TYPE_FP32 dims: 3 random_data: true } } }
"""
UNBATCHED = (
    SINGLE.replace("max_batch_size: 3", "max_batch_size: 0")
    .replace("dims: [ -1 ] allow", "dims: [ -1, -1 ] allow")
    .replace(
        '"DOUBLED" data_type: TYPE_FP32 dims: [ -1 ]',
        '"DOUBLED" data_type: TYPE_FP32 dims: [ -1, 2 ]',
    )
    .replace('"SUM" data_type: TYPE_FP32 dims: [ 1 ]', '"SUM" data_type: TYPE_FP32 dims: [ -1, 1 ]')
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InferenceServer]:
    root = tmp_path_factory.mktemp("models")
    write_repository(root, CONFIGS)
    for name, config in {"alone": SINGLE, "warm": SINGLE + WARM, "unbatched": UNBATCHED}.items():
        write_repository(root, ["segments"])
        write_model(root, name, config)
        model = root / "segments/1/model.onnx"
        (root / name / "1/model.onnx").write_bytes(model.read_bytes())
    write_model(root, "echo", ECHO)
    write_repository(root, ["overridable"])
    write_model(root, "overridable", BIAS)
    with InferenceServer(root) as running:
        yield running


async def ask(server: InferenceServer, model: str, arrays: list[np.ndarray]) -> list:
    """The results of requests that are sent at once, in order."""
    return await asyncio.gather(*(server.infer_async(model, {"INPUT": a}) for a in arrays))


def executions(server: InferenceServer, model: str) -> int:
    prefix = f'nv_inference_exec_count{{model="{model}",version="1"}} '
    lines = [line for line in server.metrics_text().splitlines() if line.startswith(prefix)]
    return int(lines[0].removeprefix(prefix)) if lines else 0


@pytest.mark.parametrize("data_type", ["int32", "fp32"])
async def test_the_model_is_told_where_each_request_lies(server, data_type) -> None:
    model = f"batch_inputs_{data_type}"
    first = np.arange(3, dtype=np.float32).reshape(1, 3, 1)
    second = np.arange(10, 18, dtype=np.float32).reshape(2, 2, 2)
    results = await ask(server, model, [first, second])
    assert executions(server, model) == 1
    counts, ends, bounds, largest = [3, 8], [3, 11], [0, 3, 11], [8, 0]
    shapes = [3, 1, 2, 2, 2, 2]
    seen = [*counts, *ends, *bounds, *largest, *shapes, *shapes, *first.flat, *second.flat]
    assert results[0]["SEEN"].tolist() == [seen]
    assert results[1]["SEEN"].tolist() == [seen, seen]


async def test_three_requests_of_different_length_run_once(server) -> None:
    before = executions(server, "segments")
    arrays = [np.arange(n, dtype=np.float32).reshape(1, n) for n in (3, 0, 5)]
    results = await ask(server, "segments", arrays)
    assert executions(server, "segments") == before + 1
    for array, result in zip(arrays, results, strict=True):
        assert result["SUM"].tolist() == [[array.sum()]]
        assert result["DOUBLED"].shape == array.shape
        np.testing.assert_array_equal(result["DOUBLED"], array * 2)


async def test_random_requests_get_their_own_answers(server) -> None:
    random = np.random.default_rng(5)
    arrays = [random.integers(0, 99, (1, n)).astype(np.float32) for n in random.integers(0, 50, 99)]
    for array, result in zip(arrays, await ask(server, "segments", arrays), strict=True):
        assert result["SUM"].tolist() == [[array.sum()]]
        np.testing.assert_array_equal(result["DOUBLED"], array * 2)


async def test_strings_of_different_counts_share_a_batch(server) -> None:
    arrays = [
        np.array([["a", "", "long string"]], object),
        np.empty((1, 0), object),
        np.array([[b"\x00\xff"]], object),
    ]
    results = await ask(server, "flat_strings", arrays)
    assert executions(server, "flat_strings") == 1
    assert results[0]["OUTPUT"].tolist() == [[b"a", b"", b"long string"]]
    assert results[1]["OUTPUT"].shape == (1, 0)
    assert results[2]["OUTPUT"].tolist() == [[b"\x00\xff"]]


@pytest.mark.parametrize("model", ["alone", "warm"])
def test_a_request_alone_is_flattened_too(server, model) -> None:
    result = server.infer(model, {"INPUT": np.ones((1, 4), np.float32)})
    assert result["SUM"].tolist() == [[4]]
    assert result["DOUBLED"].shape == (1, 4)


def test_a_model_that_does_not_batch_is_given_one_dimension(server) -> None:
    result = server.infer("unbatched", {"INPUT": np.ones((3, 2), np.float32)})
    assert result["SUM"].tolist() == [[6]]
    assert result["DOUBLED"].tolist() == [[2, 2]] * 3


async def test_the_identity_backend_echoes_ragged_batches(server) -> None:
    arrays = [np.arange(n, dtype=np.float32).reshape(1, n) for n in (4, 1)]
    results = await ask(server, "echo", arrays)
    assert executions(server, "echo") == 1
    for array, result in zip(arrays, results, strict=True):
        np.testing.assert_array_equal(result["OUTPUT"], array)


def test_batch_inputs_are_not_for_clients(server) -> None:
    inputs = {"INPUT": np.ones((1, 4), np.float32), "BOUNDS": np.array([[0, 4]], np.int32)}
    with pytest.raises(InvalidArgumentError, match="BOUNDS"):
        server.infer("segments", inputs)


async def test_a_model_whose_rows_are_not_those_of_the_batch_fails_its_batch_alone(server) -> None:
    """A request of two rows has one count, as in Triton: SUM then lacks a row."""
    with pytest.raises(FastserveError, match="expected the first dimension to be the batch of 3"):
        server.infer("segments", {"INPUT": np.ones((3, 2), np.float32)})
    arrays = [np.ones((1, n), np.float32) for n in (1, 2, 3)]
    results = await ask(server, "segments", arrays)
    assert [result["SUM"].item() for result in results] == [1, 2, 3]


def test_an_optional_input_is_left_out_or_sent(server) -> None:
    rows = np.zeros((2, 4), np.float32)
    assert server.infer("overridable", {"INPUT0": rows})["OUTPUT0"][1].tolist() == [0, 1, 2, 3]
    bias = np.full(4, 7, np.float32)
    result = server.infer("overridable", {"INPUT0": rows, "bias": bias})
    assert result["OUTPUT0"].tolist() == [[7] * 4] * 2


def test_an_optional_input_that_the_file_does_not_have_keeps_the_model_from_loading(
    tmp_path: Path,
) -> None:
    write_repository(tmp_path, ["overridable"])
    write_model(tmp_path, "overridable", BIAS.replace('"bias"', '"other"'))
    server = InferenceServer(tmp_path)
    with pytest.raises(FastserveError, match="unexpected input 'other' in the configuration"):
        server.start()
    server.close()
