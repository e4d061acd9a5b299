"""Synthetic data follows the metadata; perf_analyzer's files are read as it reads them."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastserve.tools.perf import tensors
from fastserve.tools.perf.failure import PerfError
from fastserve.tools.perf.input_data import DataOptions, make_requests
from fastserve.tools.perf.model import ModelUnderLoad, TensorSpec


def model(*inputs: TensorSpec, max_batch_size: int = 8) -> ModelUnderLoad:
    return ModelUnderLoad("m", "", inputs, ("OUT",), max_batch_size)


FLOATS = TensorSpec("A", "FP32", (-1, 4))
TEXTS = TensorSpec("T", "BYTES", (-1, 2))


def from_file(tmp_path: Path, data: list[Any], *inputs: TensorSpec, batch_size: int = 1) -> Any:
    path = tmp_path / "data.json"
    path.write_text(json.dumps({"data": data}))
    return make_requests(model(*inputs), DataOptions(source=str(path), batch_size=batch_size))


@pytest.mark.parametrize("datatype", [*tensors.NUMPY_TYPES, "BF16", "BYTES"])
@pytest.mark.parametrize("source", ["random", "zero"])
def test_every_datatype_can_be_made(datatype: str, source: str) -> None:
    spec = TensorSpec("A", datatype, (-1, 3))
    request = make_requests(model(spec), DataOptions(source=source, batch_size=2))[0]
    assert request[0].shape == (2, 3)
    assert tensors.count_elements(datatype, request[0].raw) == 6
    assert len(request[0].values()) == 6


def test_random_data_is_the_same_for_the_same_seed_and_differs_between_requests() -> None:
    one, two = (make_requests(model(FLOATS), DataOptions(seed=5)) for _ in range(2))
    assert one == two
    assert len({request[0].raw for request in one}) == len(one) > 1


def test_a_model_that_does_not_batch_keeps_its_whole_shape() -> None:
    spec = TensorSpec("A", "INT64", (3, 5))
    request = make_requests(model(spec, max_batch_size=0), DataOptions())[0]
    assert request[0].shape == (3, 5)


def test_free_dimensions_are_asked_for_with_the_flag_to_write() -> None:
    with pytest.raises(PerfError, match="--shape A:3,8"):
        make_requests(model(TensorSpec("A", "FP32", (-1, 3, -1))), DataOptions())


def test_shape_fills_free_dimensions() -> None:
    spec = TensorSpec("A", "FP32", (-1, 3, -1))
    options = DataOptions(shapes={"A": (3, 7)}, batch_size=2)
    assert make_requests(model(spec), options)[0][0].shape == (2, 3, 7)


@pytest.mark.parametrize("shape", [(4, 7), (3,), (3, 7, 1)])
def test_a_shape_that_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(PerfError, match="does not fit"):
        make_requests(model(TensorSpec("A", "FP32", (-1, 3, -1))), DataOptions(shapes={"A": shape}))


def test_a_shape_for_an_unknown_input_is_refused() -> None:
    with pytest.raises(PerfError, match="no input 'B', only A"):
        make_requests(model(FLOATS), DataOptions(shapes={"B": (1,)}))


def test_a_batch_larger_than_the_model_takes_is_refused() -> None:
    with pytest.raises(PerfError, match="at most 8, -b asks for 9"):
        make_requests(model(FLOATS), DataOptions(batch_size=9))


def test_entries_of_a_file_are_requests_in_turn(tmp_path: Path) -> None:
    entries = [{"A": [1, 2, 3, 4]}, {"A": [[5, 6], [7, 8]]}]
    requests = from_file(tmp_path, entries, FLOATS)
    assert [request[0].values() for request in requests] == [[1, 2, 3, 4], [5, 6, 7, 8]]


def test_streams_of_a_file_are_read_one_after_another(tmp_path: Path) -> None:
    entries = [[{"A": [1] * 4}, {"A": [2] * 4}], [{"A": [3] * 4}]]
    assert len(from_file(tmp_path, entries, FLOATS)) == 3


def test_entries_are_joined_to_batches(tmp_path: Path) -> None:
    entries = [{"A": [i] * 4} for i in range(3)]
    requests = from_file(tmp_path, entries, FLOATS, batch_size=2)
    assert [request[0].shape for request in requests] == [(2, 4), (2, 4)]
    assert requests[1][0].values() == [2, 2, 2, 2, 0, 0, 0, 0]


def test_base64_gives_raw_bytes(tmp_path: Path) -> None:
    raw = np.arange(4, dtype=np.float32).tobytes()
    request = from_file(tmp_path, [{"A": {"b64": base64.b64encode(raw).decode()}}], FLOATS)[0]
    assert request[0].raw == raw


def test_strings_and_base64_strings_get_length_prefixes(tmp_path: Path) -> None:
    plain = from_file(tmp_path, [{"T": ["a", "bé"]}], TEXTS)[0]
    assert plain[0].raw == b"\x01\0\0\0a\x03\0\0\0b\xc3\xa9"
    spec = TensorSpec("T", "BYTES", (-1, 1))
    coded = from_file(tmp_path, [{"T": {"b64": base64.b64encode(b"\0\xff").decode()}}], spec)[0]
    assert coded[0].raw == b"\x02\0\0\0\0\xff"


def test_a_file_may_name_the_shape_and_a_free_dimension_follows(tmp_path: Path) -> None:
    spec = TensorSpec("A", "INT32", (-1, -1, 2))
    named = from_file(tmp_path, [{"A": {"content": [1, 2, 3, 4], "shape": [2, 2]}}], spec)[0]
    follows = from_file(tmp_path, [{"A": [1, 2, 3, 4, 5, 6]}], spec)[0]
    assert named[0].shape == (1, 2, 2)
    assert follows[0].shape == (1, 3, 2)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"B": [1]}, "no input 'A'"),
        ({"A": [1, 2, 3]}, "3 elements, shape .4. needs 4"),
        ({"A": ["x"] * 4}, "datatype FP32"),
        ({"A": {"b64": "?"}}, "not base64"),
        ({"A": {"x": 1}}, "expected 'content' or 'b64'"),
    ],
)
def test_data_that_does_not_fit_is_refused_by_name(
    tmp_path: Path, entry: dict[str, Any], message: str
) -> None:
    with pytest.raises(PerfError, match=message):
        from_file(tmp_path, [entry], FLOATS)


@pytest.mark.parametrize("text", ["", "[]", '{"data": []}', '{"data": [1]}', '{"data": {}}'])
def test_a_file_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "data.json"
    path.write_text(text)
    with pytest.raises(PerfError, match="--input-data"):
        make_requests(model(FLOATS), DataOptions(source=str(path)))


def test_a_missing_file_is_named() -> None:
    with pytest.raises(PerfError, match=r"/nowhere\.json: No such file"):
        make_requests(model(FLOATS), DataOptions(source="/nowhere.json"))


def test_a_directory_holds_one_file_to_each_input(tmp_path: Path) -> None:
    (tmp_path / "A").write_bytes(np.ones(4, np.float32).tobytes())
    (tmp_path / "T").write_text("one\ntwo\n")
    requests = make_requests(model(FLOATS, TEXTS), DataOptions(source=str(tmp_path)))
    assert [tensor.values() for tensor in requests[0]] == [[1, 1, 1, 1], ["one", "two"]]
