"""Tensor data of a request: random, zero, or from JSON, as the raw bytes of KServe v2."""

import base64
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastserve.tools.perf.failure import PerfError

Array = npt.NDArray[Any]

NUMPY_TYPES: dict[str, Any] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}
# Small enough to be a token of any vocabulary and a row of most tables.
RANDOM_INTEGERS_BELOW = 128


@dataclass(frozen=True)
class TensorData:
    """One tensor of one request. `raw` is little-endian, BYTES with their length prefixes."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    raw: bytes

    def values(self) -> list[Any]:
        """The elements as JSON numbers or strings."""
        if self.datatype == "BYTES":
            return [element.decode() for element in split_bytes(self.raw)]
        if self.datatype == "BF16":
            wide = np.frombuffer(self.raw, np.uint16).astype(np.uint32) << 16
            return list(wide.view(np.float32).tolist())
        return list(np.frombuffer(self.raw, NUMPY_TYPES[self.datatype]).tolist())


def element_count(shape: Iterable[int]) -> int:
    count = 1
    for dim in shape:
        count *= dim
    return count


def join_bytes(elements: Iterable[bytes]) -> bytes:
    """BYTES elements with 4-byte little-endian length prefixes."""
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def split_bytes(raw: bytes) -> list[bytes]:
    elements, at = [], 0
    while at < len(raw):
        (size,) = struct.unpack_from("<I", raw, at)
        elements.append(raw[at + 4 : at + 4 + size])
        at += 4 + size
    return elements


def _known(datatype: str) -> Any:
    try:
        return NUMPY_TYPES[datatype]
    except KeyError:
        raise PerfError(f"no data can be made for datatype {datatype}") from None


def zeros(datatype: str, shape: tuple[int, ...]) -> bytes:
    if datatype == "BYTES":
        return join_bytes([b""] * element_count(shape))
    if datatype == "BF16":
        return bytes(2 * element_count(shape))
    return np.zeros(shape, _known(datatype)).tobytes()


def random(
    datatype: str, shape: tuple[int, ...], generator: np.random.Generator, string_length: int = 128
) -> bytes:
    """Floats in [0, 1), integers below 128, printable strings."""
    if datatype == "BYTES":
        letters = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz0123456789", np.uint8)
        drawn = generator.choice(letters, (element_count(shape), string_length))
        return join_bytes(row.tobytes() for row in drawn)
    if datatype == "BF16":
        wide = generator.random(shape, np.float32).view(np.uint32)
        return (wide >> 16).astype(np.uint16).tobytes()
    kind = _known(datatype)
    if np.issubdtype(kind, np.floating):
        return generator.random(shape).astype(kind).tobytes()
    limit = 2 if kind is np.bool_ else RANDOM_INTEGERS_BELOW
    return generator.integers(0, limit, shape).astype(kind).tobytes()


def _flatten(content: Any) -> list[Any]:
    if isinstance(content, list):
        return [value for item in content for value in _flatten(item)]
    return [content]


def from_json(name: str, datatype: str, content: Any) -> bytes:
    """A value of perf_analyzer's JSON: a (nested) list, one value, or {"b64": ...}."""
    if isinstance(content, dict):
        if "b64" not in content:
            raise PerfError(f"input '{name}': expected 'content' or 'b64' in {content}")
        try:
            decoded = base64.b64decode(content["b64"], validate=True)
        except ValueError as error:
            raise PerfError(f"input '{name}': its b64 is not base64: {error}") from error
        return join_bytes([decoded]) if datatype == "BYTES" else decoded
    values = _flatten(content)
    if datatype == "BYTES":
        return join_bytes(str(value).encode() for value in values)
    try:
        if datatype == "BF16":
            wide = np.asarray(values, np.float32).view(np.uint32)
            return (wide >> 16).astype(np.uint16).tobytes()
        return np.asarray(values, _known(datatype)).tobytes()
    except (TypeError, ValueError, OverflowError) as error:
        raise PerfError(f"input '{name}' of datatype {datatype}: {error}") from error


def count_elements(datatype: str, raw: bytes) -> int:
    if datatype == "BYTES":
        return len(split_bytes(raw))
    size = 2 if datatype == "BF16" else np.dtype(_known(datatype)).itemsize
    return len(raw) // size if len(raw) % size == 0 else -1
