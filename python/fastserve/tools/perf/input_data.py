"""The data of the requests: `--input-data random|zero|FILE|DIRECTORY`, `--shape`, `-b`.

A file is perf_analyzer's JSON: {"data": [{"INPUT0": [1, 2], "INPUT1": {"content": [1, 2], "shape":
[2]}, "INPUT2": {"b64": "..."}}, ...]}, the entries of one list or of several streams. With a batch
size of N, N entries in turn make one request. A directory holds a file of raw bytes to each input.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fastserve.tools.perf import tensors
from fastserve.tools.perf.failure import PerfError
from fastserve.tools.perf.model import ModelUnderLoad, TensorSpec
from fastserve.tools.perf.tensors import TensorData, join_bytes

Request = list[TensorData]
# Different random requests, so that a cache or a branch predictor does not see one request only.
RANDOM_REQUESTS = 8
LARGE_ELEMENTS = 1 << 20


@dataclass(frozen=True)
class DataOptions:
    """The command line's words about data."""

    source: str = "random"
    batch_size: int = 1
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    string_length: int = 128
    string_data: str | None = None
    seed: int = 0


def make_requests(model: ModelUnderLoad, options: DataOptions) -> list[Request]:
    """The requests to send in turn. Raises PerfError when shapes or data do not fit the model."""
    _check(model, options)
    if options.source in ("random", "zero"):
        generator = np.random.default_rng(options.seed)
        return [_synthetic(model, options, generator) for _ in range(_variants(model, options))]
    path = Path(options.source)
    rows = _read_directory(model, path) if path.is_dir() else _read_file(path)
    return _batched(model, options, rows)


def _check(model: ModelUnderLoad, options: DataOptions) -> None:
    if options.batch_size > 1 and options.batch_size > model.max_batch_size:
        raise PerfError(
            f"model '{model.name}' takes batches of at most {max(1, model.max_batch_size)}, "
            f"-b asks for {options.batch_size}"
        )
    names = [spec.name for spec in model.inputs]
    for name in options.shapes:
        if name not in names:
            known = ", ".join(names)
            raise PerfError(f"--shape: model '{model.name}' has no input '{name}', only {known}")


def _variants(model: ModelUnderLoad, options: DataOptions) -> int:
    """How many different requests to make; large ones are kept in memory once."""
    elements = sum(tensors.element_count(_shape(model, spec, options)) for spec in model.inputs)
    return RANDOM_REQUESTS if options.source == "random" and elements <= LARGE_ELEMENTS else 1


def _row_shape(model: ModelUnderLoad, spec: TensorSpec, options: DataOptions) -> tuple[int, ...]:
    """The shape without the batch dimension, free dimensions replaced by --shape."""
    dims = spec.shape[1:] if model.max_batch_size > 0 else spec.shape
    given = options.shapes.get(spec.name)
    if given is None:
        return dims
    fits = len(given) == len(dims) and all(d in (-1, g) for d, g in zip(dims, given, strict=True))
    if not fits:
        raise PerfError(
            f"--shape {spec.name}:{_comma(given)} does not fit the model's {list(dims)}"
        )
    return given


def _comma(shape: tuple[int, ...]) -> str:
    return ",".join(str(dim) for dim in shape)


def _shape(model: ModelUnderLoad, spec: TensorSpec, options: DataOptions) -> tuple[int, ...]:
    row = _row_shape(model, spec, options)
    if -1 in row:
        example = _comma(tuple(8 if dim == -1 else dim for dim in row))
        raise PerfError(
            f"input '{spec.name}' has free dimensions {list(row)}: give them, "
            f"for example --shape {spec.name}:{example}"
        )
    return (options.batch_size, *row) if model.max_batch_size > 0 else row


def _synthetic(
    model: ModelUnderLoad, options: DataOptions, generator: np.random.Generator
) -> Request:
    request = []
    for spec in model.inputs:
        shape = _shape(model, spec, options)
        if spec.datatype == "BYTES" and options.string_data is not None:
            raw = join_bytes([options.string_data.encode()] * tensors.element_count(shape))
        elif options.source == "zero":
            raw = tensors.zeros(spec.datatype, shape)
        else:
            raw = tensors.random(spec.datatype, shape, generator, options.string_length)
        request.append(TensorData(spec.name, spec.datatype, shape, raw))
    return request


def _read_file(path: Path) -> list[dict[str, Any]]:
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise PerfError(f"--input-data {path}: {error.strerror}") from error
    except ValueError as error:
        raise PerfError(f"--input-data {path}: not JSON: {error}") from error
    rows = _rows(document)
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise PerfError(
            f'--input-data {path}: expected {{"data": [{{"INPUT": ...}}, ...]}} '
            "with at least one entry"
        )
    return rows


def _rows(document: Any) -> list[Any]:
    """The entries of all streams; empty when there is no list of data."""
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, list):
        return []
    return [step for entry in data for step in (entry if isinstance(entry, list) else [entry])]


def _read_directory(model: ModelUnderLoad, path: Path) -> list[dict[str, Any]]:
    row: dict[str, Any] = {}
    for spec in model.inputs:
        try:
            raw = (path / spec.name).read_bytes()
        except OSError as error:
            raise PerfError(f"--input-data {path / spec.name}: {error.strerror}") from error
        row[spec.name] = raw.decode().splitlines() if spec.datatype == "BYTES" else raw
    return [row]


def _row(
    model: ModelUnderLoad, spec: TensorSpec, options: DataOptions, row: dict[str, Any]
) -> tuple[tuple[int, ...], bytes]:
    """Shape (without batch dimension) and bytes of one input in one entry."""
    if spec.name not in row:
        raise PerfError(f"--input-data: an entry has no input '{spec.name}'")
    value = row[spec.name]
    shape = _row_shape(model, spec, options)
    if isinstance(value, dict) and "shape" in value:
        shape = tuple(int(dim) for dim in value["shape"])
    if isinstance(value, dict) and "content" in value:
        value = value["content"]
    raw = value if isinstance(value, bytes) else tensors.from_json(spec.name, spec.datatype, value)
    count = tensors.count_elements(spec.datatype, raw)
    shape = _complete(shape, count)
    if tensors.element_count(shape) != count:
        raise PerfError(
            f"--input-data: input '{spec.name}' has {count} elements, shape {list(shape)} needs "
            f"{tensors.element_count(shape)}"
        )
    return shape, raw


def _complete(shape: tuple[int, ...], count: int) -> tuple[int, ...]:
    """One free dimension follows from the number of elements."""
    if shape.count(-1) != 1:
        return shape
    known = tensors.element_count(dim for dim in shape if dim != -1)
    free = count // known if known > 0 and count % known == 0 else -1
    return tuple(free if dim == -1 else dim for dim in shape)


def _batched(
    model: ModelUnderLoad, options: DataOptions, rows: list[dict[str, Any]]
) -> list[Request]:
    batch = options.batch_size if model.max_batch_size > 0 else 1
    requests = []
    for first in range(0, max(len(rows), 1), batch):
        members = [rows[(first + i) % len(rows)] for i in range(batch)]
        request = []
        for spec in model.inputs:
            parts = [_row(model, spec, options, member) for member in members]
            if len({shape for shape, _ in parts}) != 1:
                raise PerfError(f"--input-data: the shapes of '{spec.name}' in one batch differ")
            shape = (batch, *parts[0][0]) if model.max_batch_size > 0 else parts[0][0]
            raw = b"".join(raw for _, raw in parts)
            request.append(TensorData(spec.name, spec.datatype, shape, raw))
        requests.append(request)
    return requests
