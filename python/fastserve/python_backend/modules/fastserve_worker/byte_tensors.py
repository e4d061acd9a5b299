"""BYTES tensors: a list of bytes <-> `u32 length, bytes` repeated, at an address.

A small C module does it; where it cannot be loaded (another platform, a build of Python without
the stable interface) Python does, some ten times slower.
"""

from __future__ import annotations

import ctypes
import importlib.util
import math
import os
import struct
from typing import Any, List

import numpy as np

from .errors import TritonModelException

_LENGTH = struct.Struct("<I")


def _load() -> Any:
    folder = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    path = os.path.join(folder, "_fastserve_bytes.abi3.so")
    spec = importlib.util.spec_from_file_location("_fastserve_bytes", path)
    try:
        if spec is None or spec.loader is None or not os.path.exists(path):
            return None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except ImportError:
        return None
    return module


class _InPython:
    """The C module's three functions."""

    @staticmethod
    def measure(strings: List[Any]) -> int:
        """The serialised size; -1 when an item is not bytes."""
        if any(type(item) is not bytes for item in strings):
            return -1
        return 4 * len(strings) + sum(map(len, strings))

    @staticmethod
    def write(strings: List[bytes], address: int, size: int) -> None:
        data = b"".join([part for item in strings for part in (_LENGTH.pack(len(item)), item)])
        if len(data) != size:
            raise ValueError(f"the strings take {len(data)} bytes, expected {size}")
        ctypes.memmove(address, data, size)

    @staticmethod
    def fill(array: Any, count: int, address: int, size: int) -> None:
        data = ctypes.string_at(address, size)
        strings: List[bytes] = []
        position = 0
        for index in range(count):
            if size - position < 4:
                raise ValueError(f"string {index} has {size - position} bytes of its length")
            (length,) = _LENGTH.unpack_from(data, position)
            position += 4
            if length > size - position:
                raise ValueError(
                    f"string {index} has length {length}, but {size - position} bytes follow"
                )
            strings.append(data[position : position + length])
            position += length
        if position != size:
            raise ValueError(f"{size - position} bytes follow the last of {count} strings")
        array[:] = strings


native: Any = None if os.environ.get("FASTSERVE_WORKER_PURE_PYTHON") else _load()
_code: Any = native or _InPython


def strings_of(array: Any) -> List[bytes]:
    """The elements as bytes: str as UTF-8, anything else as the UTF-8 of its str()."""
    items: List[Any] = array.ravel().tolist()
    if measure(items) >= 0:
        return items
    return [
        item if type(item) is bytes else bytes(item) if isinstance(item, bytes) else _encode(item)
        for item in items
    ]


def _encode(item: Any) -> bytes:
    text = item if isinstance(item, str) else str(item)
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise TritonModelException(f"string {text!r} cannot be sent as UTF-8: {error}") from None


def measure(strings: List[Any]) -> int:
    size: int = _code.measure(strings)
    return size


def write(strings: List[bytes], address: int, size: int) -> None:
    _code.write(strings, address, size)


def read(address: int, size: int, shape: Any) -> Any:
    """An array of bytes objects. ValueError when the lengths do not add up."""
    count = math.prod(shape)
    if 4 * count > size:
        raise ValueError(f"{count} strings do not fit into {size} bytes")
    array = np.empty(count, np.object_)
    if native is None:
        _InPython.fill(array, count, address, size)
    else:
        native.fill(array.__array_interface__["data"][0], count, address, size)
    return array.reshape(shape)


def _count(data: bytes) -> int:
    """How many strings there are; a wrong length ends the count."""
    count = position = 0
    while position < len(data) - 3:
        position += 4 + int(_LENGTH.unpack_from(data, position)[0])
        count += 1
    return count


def serialize_byte_tensor(input_tensor: Any) -> bytes:
    """An array of bytes, str or objects in the serialised form."""
    array = np.asarray(input_tensor)
    if array.dtype.kind not in "OSU":
        raise TritonModelException(f"cannot serialise a BYTES tensor of numpy type '{array.dtype}'")
    strings = strings_of(array)
    size = measure(strings)
    data = ctypes.create_string_buffer(size) if size else None
    if data is None:
        return b""
    write(strings, ctypes.addressof(data), size)
    return data.raw


def deserialize_bytes_tensor(encoded_tensor: Any) -> Any:
    """A one-dimensional object array of bytes."""
    data = np.frombuffer(encoded_tensor, np.uint8)
    if not data.size:
        return np.empty(0, np.object_)
    count = _count(data.tobytes())
    return read(data.__array_interface__["data"][0], data.nbytes, (count,))
