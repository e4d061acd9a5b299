"""Triton's data types in numpy's terms, and the functions about them that models call."""

from __future__ import annotations

from typing import Any, Dict

import numpy as np

from .errors import TritonModelException

STRING = 13
BF16 = 14

_NUMBERS: Dict[int, Any] = {
    1: np.bool_,
    2: np.uint8,
    3: np.uint16,
    4: np.uint32,
    5: np.uint64,
    6: np.int8,
    7: np.int16,
    8: np.int32,
    9: np.int64,
    10: np.float16,
    11: np.float32,
    12: np.float64,
    STRING: np.object_,
}
_NAMES = [
    "BOOL",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FP16",
    "FP32",
    "FP64",
    "STRING",
    "BF16",
]
TRITON_STRING_TO_NUMPY: Dict[str, Any] = {
    f"TYPE_{_NAMES[number - 1]}": kind for number, kind in _NUMBERS.items()
}
# What the bytes of a tensor are as an array; BF16 as its bits.
ELEMENTS: Dict[int, Any] = {
    number: np.dtype(kind) for number, kind in _NUMBERS.items() if number != STRING
}
ELEMENTS[BF16] = np.dtype(np.uint16)
_NUMBER_OF_DTYPE: Dict[Any, int] = {np.dtype(kind): number for number, kind in _NUMBERS.items()}


def type_name(number: int) -> str:
    return _NAMES[number - 1]


def number_of(dtype: Any) -> int:
    """The Triton type of an array's elements; TritonModelException when there is none."""
    number = _NUMBER_OF_DTYPE.get(dtype)
    if number is None:
        number = _learn(dtype)
    return number


def _learn(dtype: Any) -> int:
    if dtype.kind in "SU":
        return STRING
    if dtype.name == "bfloat16":
        number: int | None = BF16
    else:
        number = _NUMBER_OF_DTYPE.get(dtype.newbyteorder("="))
    if number is None:
        raise TritonModelException(f"numpy type '{dtype}' has no Triton type")
    return number


def triton_to_numpy_type(data_type: int) -> Any:
    return _NUMBERS[int(data_type)]


def numpy_to_triton_type(data_type: Any) -> int:
    return number_of(np.dtype(data_type))


def triton_string_to_numpy(triton_type_string: str) -> Any:
    return TRITON_STRING_TO_NUMPY[triton_type_string]
