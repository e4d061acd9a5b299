"""numpy arrays and DLPack objects <-> the core's tensors, without a copy where the layout
allows.
"""

from typing import Any

import numpy as np

from fastserve import _core
from fastserve.errors import InvalidArgumentError

_TYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "bfloat16": "BF16",
}


def to_core(value: Any) -> tuple[str, list[int], Any]:
    """(data type, shape, contiguous bytes) of an array.

    Copies only what is not contiguous or has another byte order.

    InvalidArgumentError for a type the protocol does not have.
    """
    array = value if isinstance(value, np.ndarray) else _as_array(value)
    shape = list(array.shape)
    if array.dtype.kind in "OSU":
        return "BYTES", shape, _core.serialize_bytes(array.reshape(-1).tolist())
    data_type = _TYPES.get(array.dtype.name)
    if data_type is None:
        raise InvalidArgumentError(f"an array of {array.dtype} is no tensor of the protocol")
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    # The bytes of the array: types that the buffer protocol does not know (bfloat16) pass too.
    return data_type, shape, np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _as_array(value: Any) -> Any:
    if hasattr(value, "__dlpack__"):
        return np.from_dlpack(value)
    return np.asarray(value)


def from_core(data_type: str, array: Any) -> Any:
    """The array as the core made it; BF16 (uint16 there) as bfloat16 when ml_dtypes is
    installed.
    """
    if data_type != "BF16":
        return array
    try:
        import ml_dtypes
    except ImportError:
        return array
    return array.view(ml_dtypes.bfloat16)
