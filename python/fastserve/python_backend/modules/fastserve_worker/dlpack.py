"""DLPack for arrays in CPU memory, both ways and without copies, BF16 included (which numpy's own
support does not know). The structures are those of dlpack.h, version 0.
"""

from __future__ import annotations

import ctypes
from typing import Any, Dict, Tuple

import numpy as np

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

_Destructor = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
_api: Any = ctypes.pythonapi
_api.PyCapsule_New.restype = ctypes.py_object
_api.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
_api.PyCapsule_GetPointer.restype = ctypes.c_void_p
_api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
_api.PyCapsule_SetName.argtypes = [ctypes.py_object, ctypes.c_char_p]
# The same functions for a capsule that is being destroyed, of which no reference may be taken.
_raw_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_IsValid", _api)
)
_raw_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", _api)
)
_NAME = b"dltensor"  # capsules keep the pointer, not the text
_USED = b"used_dltensor"

# What was exported and not yet deleted: address of the structure -> what must live as long.
_exported: Dict[int, Tuple[Any, ...]] = {}


def _delete_tensor(managed: Any) -> None:
    _exported.pop(ctypes.addressof(managed.contents), None)


def _destroy_capsule(capsule: int) -> None:
    """A capsule that nobody took still owns its tensor."""
    if _raw_is_valid(capsule, _NAME):
        _exported.pop(_raw_pointer(capsule, _NAME), None)


# Kept here: C calls them as long as the process lives.
_delete = _Deleter(_delete_tensor)
_destroy = _Destructor(_destroy_capsule)


def export(array: Any, kind: int) -> Any:
    """A capsule over the memory of `array`, which lives until the capsule's taker deletes it."""
    dimensions = array.ndim
    shape = (ctypes.c_int64 * max(dimensions, 1))(*array.shape)
    strides = (ctypes.c_int64 * max(dimensions, 1))(
        *[stride // array.itemsize for stride in array.strides]
    )
    managed = _ManagedTensor()
    tensor = managed.tensor
    tensor.data = array.__array_interface__["data"][0]
    tensor.device_type = CPU
    tensor.ndim = dimensions
    tensor.code = _BFLOAT if kind == BF16 else _CODES[array.dtype.kind]
    tensor.bits = array.itemsize * 8
    tensor.lanes = 1
    tensor.shape = shape
    tensor.strides = strides
    managed.deleter = _delete
    address = ctypes.addressof(managed)
    _exported[address] = (managed, array, shape, strides)
    return _api.PyCapsule_New(address, _NAME, ctypes.cast(_destroy, ctypes.c_void_p))


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
