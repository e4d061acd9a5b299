"""BYTES tensors: a list of bytes <-> `u32 length, bytes` repeated, at an address.

A small C module does it; where it cannot be loaded (another platform, a build of Python without
the stable interface) Python does, some ten times slower.
"""

from __future__ import annotations

import ctypes
import importlib.util
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
    def read(address: int, size: int) -> List[bytes]:
        data = ctypes.string_at(address, size)
        strings: List[bytes] = []
        position = 0
        while position < size:
            if size - position < 4:
                raise ValueError(f"string {len(strings)} has {size - position} bytes of its length")
            (length,) = _LENGTH.unpack_from(data, position)
            position += 4
            if length > size - position:
                raise ValueError(
                    f"string {len(strings)} has length {length}, but {size - position} bytes follow"
                )
            strings.append(data[position : position + length])
            position += length
        return strings


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


def read(address: int, size: int) -> List[bytes]:
    """ValueError when the lengths do not add up."""
    strings: List[bytes] = _code.read(address, size)
    return strings


def object_array(strings: List[bytes], shape: Any) -> Any:
    array = np.empty(len(strings), np.object_)
    array[:] = strings
    return array.reshape(shape)


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
    strings = read(data.__array_interface__["data"][0], data.nbytes)
    return object_array(strings, (len(strings),))
