"""The few parts of protobuf's wire format that a load generator needs.

Written by hand so that the tool talks to any server without generated code (and without a second
copy of Triton's descriptors beside tritonclient's). https://protobuf.dev/programming-guides/encoding
"""

from collections.abc import Iterable, Iterator

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


def varint(value: int) -> bytes:
    """An int64 or uint64 as a varint; negative numbers take ten bytes."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def length_field(number: int, payload: bytes | str) -> bytes:
    """A string, bytes, message or packed field."""
    data = payload.encode() if isinstance(payload, str) else payload
    return varint(number << 3 | _LENGTH) + varint(len(data)) + data


def packed_field(number: int, values: Iterable[int]) -> bytes:
    """A packed repeated int64 field; nothing when it is empty."""
    data = b"".join(varint(value) for value in values)
    return length_field(number, data) if data else b""


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of each field: an int for a varint, bytes for the other kinds."""
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _read_varint(data, at)
            yield key >> 3, value
            continue
        if kind == _LENGTH:
            size, at = _read_varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"protobuf wire type {kind}")
        yield key >> 3, data[at : at + size]
        at += size


def messages(data: bytes, number: int) -> list[bytes]:
    """The length-delimited values of one field."""
    return [value for key, value in fields(data) if key == number and isinstance(value, bytes)]


def text(data: bytes, number: int) -> str:
    """The last value of a string field; empty when absent."""
    return (messages(data, number) or [b""])[-1].decode()


def integer(data: bytes, number: int) -> int:
    """The last value of an integer field as a signed number; 0 when absent."""
    values = [value for key, value in fields(data) if key == number and isinstance(value, int)]
    return _signed(values[-1]) if values else 0


def integers(data: bytes, number: int) -> list[int]:
    """A repeated int64 field, packed or not."""
    out: list[int] = []
    for key, value in fields(data):
        if key != number:
            continue
        if isinstance(value, int):
            out.append(_signed(value))
            continue
        at = 0
        while at < len(value):
            one, at = _read_varint(value, at)
            out.append(_signed(one))
    return out


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
