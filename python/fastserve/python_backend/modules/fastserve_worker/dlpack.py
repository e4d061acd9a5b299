"""DLPack for arrays in CPU memory, both ways and without copies, BF16 included (which numpy's own
support does not know). The structures are those of dlpack.h, version 0.
"""

from __future__ import annotations

import ctypes
from typing import Any, Dict, Tuple

import numpy as np

from .byte_tensors import native
from .data_types import BF16, ELEMENTS
from .errors import TritonModelException

CPU = 1
_CPU_READABLE = (1, 3, 11, 13)  # CPU, CUDA host, ROCm host, CUDA managed
_BFLOAT = 4
_CODES = {"i": 0, "u": 1, "f": 2, "b": 6}
_TYPES: Dict[Tuple[int, int], int] = {
    (_CODES[dtype.kind], dtype.itemsize * 8): number
    for number, dtype in ELEMENTS.items()
    if number != BF16
}
_TYPES[_BFLOAT, 16] = BF16
_TYPES[1, 1] = 1  # how older exporters say bool


class _DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _ManagedTensor(ctypes.Structure):
    pass


_Deleter = ctypes.CFUNCTYPE(None, ctypes.POINTER(_ManagedTensor))
_ManagedTensor._fields_ = [
    ("tensor", _DLTensor),
    ("context", ctypes.c_void_p),
    ("deleter", _Deleter),
]

_api: Any = ctypes.pythonapi
_api.PyCapsule_New.restype = ctypes.py_object
_api.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
_api.PyCapsule_GetPointer.restype = ctypes.c_void_p
_api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
_api.PyCapsule_SetName.argtypes = [ctypes.py_object, ctypes.c_char_p]
_NAME = b"dltensor"  # capsules keep the pointer, not the text
_USED = b"used_dltensor"


def export(array: Any, kind: int) -> Any:
    """A capsule over the memory of `array`, which lives until the capsule's taker deletes it."""
    code = _BFLOAT if kind == BF16 else _CODES[array.dtype.kind]
    if native is None:
        return _export_by_numpy(array, code)
    strides = tuple(stride // array.itemsize for stride in array.strides)
    address = array.__array_interface__["data"][0]
    return native.export_dlpack(array, address, code, array.itemsize * 8, array.shape, strides)


def _export_by_numpy(array: Any, code: int) -> Any:
    """For want of the C module: a destructor in Python would lose an exception that is on its way
    when the capsule goes. numpy does not know all types.
    """
    bits = array.view(f"u{array.itemsize}")
    if not hasattr(bits, "__dlpack__"):
        raise TritonModelException(f"numpy {np.__version__} has no DLPack, 1.22 or later has")
    capsule = (bits if bits.flags.writeable else bits.copy()).__dlpack__()
    address = _api.PyCapsule_GetPointer(capsule, _NAME)
    ctypes.cast(address, ctypes.POINTER(_ManagedTensor)).contents.tensor.code = code
    return capsule


class _Taken:
    """A tensor taken from a capsule, as numpy's array interface; deleted with the last array."""

    def __init__(self, address: int) -> None:
        self._managed = ctypes.cast(address, ctypes.POINTER(_ManagedTensor))
        tensor = self._managed.contents.tensor
        self.kind = _TYPES.get((tensor.code, tensor.bits), 0)
        dtype = ELEMENTS.get(self.kind)
        if tensor.device_type not in _CPU_READABLE or dtype is None or tensor.lanes != 1:
            raise TritonModelException(
                f"DLPack tensor on device type {tensor.device_type} with type code {tensor.code}, "
                f"{tensor.bits} bits and {tensor.lanes} lanes is not supported"
            )
        strides = None
        if tensor.strides:
            strides = tuple(tensor.strides[i] * dtype.itemsize for i in range(tensor.ndim))
        self.__array_interface__: Dict[str, Any] = {
            "data": ((tensor.data or 0) + tensor.byte_offset, False),
            "shape": tuple(tensor.shape[i] for i in range(tensor.ndim)),
            "strides": strides,
            "typestr": dtype.str,
            "version": 3,
        }

    def __del__(self) -> None:
        managed = self._managed.contents
        if managed.deleter:
            managed.deleter(self._managed)


def take(source: Any) -> Tuple[Any, int]:
    """An array over the memory of a capsule, or of an object with `__dlpack__`, and its type."""
    capsule = source.__dlpack__() if hasattr(source, "__dlpack__") else source
    try:
        address = _api.PyCapsule_GetPointer(capsule, _NAME)
    except ValueError:
        raise TritonModelException(
            "expected a DLPack capsule that was not taken before, or an object with __dlpack__"
        ) from None
    _api.PyCapsule_SetName(capsule, _USED)
    taken = _Taken(address)
    if not all(taken.__array_interface__["shape"]):
        empty = np.empty(taken.__array_interface__["shape"], ELEMENTS[taken.kind])
        return empty, taken.kind
    return np.asarray(taken), taken.kind
