"""The hand-written wire format is protobuf's: the official library reads what it writes."""

import pytest
from fastserve.tools.perf import wire
from google.protobuf import descriptor_pb2
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_an_integer_survives_the_official_library(value: int) -> None:
    option = descriptor_pb2.UninterpretedOption()
    option.ParseFromString(wire.varint(5 << 3) + wire.varint(value))  # negative_int_value
    assert option.negative_int_value == value
    assert wire.integer(option.SerializeToString(), 5) == value


@given(st.text(max_size=300))
def test_a_string_survives_the_official_library(value: str) -> None:
    file = descriptor_pb2.FileDescriptorProto()
    file.ParseFromString(wire.length_field(1, value))
    assert file.name == value
    assert wire.text(file.SerializeToString(), 1) == value


@given(st.lists(st.integers(-(1 << 63), (1 << 63) - 1), max_size=20))
def test_a_packed_field_reads_back(values: list[int]) -> None:
    assert wire.integers(wire.packed_field(3, values), 3) == values


def test_unpacked_integers_are_read_too() -> None:
    data = b"".join(wire.varint(3 << 3) + wire.varint(value) for value in (1, -1, 300))
    assert wire.integers(data, 3) == [1, -1, 300]


def test_fields_of_other_kinds_are_skipped() -> None:
    data = wire.varint(9 << 3 | 1) + b"12345678" + wire.varint(8 << 3 | 5) + b"1234"
    assert wire.text(data + wire.length_field(1, "x"), 1) == "x"


def test_an_unknown_wire_type_is_an_error() -> None:
    with pytest.raises(ValueError, match="wire type 3"):
        wire.text(wire.varint(1 << 3 | 3), 1)
