"""`Tensor`: a name, a type, a shape, and elements in numpy's or the server's memory."""

from __future__ import annotations

from typing import Any, List, Tuple
from weakref import ref

import numpy as np

from . import byte_tensors, dlpack
from .data_types import BF16, ELEMENTS, STRING, number_of
from .errors import TritonModelException
from .memory import LentBlock


class Tensor:
    """Immutable but for its elements. Made by a model from an array, or by the worker from a block
    of the server's, of which its arrays are then views.

    Invariants: 1. `_array` is None only while `_source` is set (a received tensor that was not
    looked at); 2. `_strings`, the elements as bytes, is set for BYTES tensors that models make;
    3. `_source` is the block as an array, the offset in it, and whether a response that was sent is
    there, in which case no array of the model's is a view of it.
    """

    __slots__ = ("_array", "_name", "_shape", "_size", "_source", "_strings", "_type")

    def __init__(self, name: str, array: Any) -> None:
        """`array`: a numpy array (anything else is converted). BYTES: of objects, str or bytes."""
        if not isinstance(name, str):
            raise TritonModelException(f"a tensor's name is {type(name).__name__}, expected str")
        if not isinstance(array, np.ndarray):
            array = np.asarray(array)
        dtype = array.dtype
        self._name = name
        self._type = kind = number_of(dtype)
        self._shape = array.shape
        self._source: Any = None
        self._strings: List[bytes] | None = None
        if kind == STRING:
            self._strings = byte_tensors.strings_of(array)
            self._size = byte_tensors.measure(self._strings)
        else:
            if not dtype.isnative:
                array = array.astype(dtype.newbyteorder("="))
            elif kind == BF16:
                array = array.view(np.uint16)
            self._size = array.nbytes
        self._array = array

    def name(self) -> str:
        return self._name

    def triton_dtype(self) -> int:
        """Triton's number of the data type."""
        return self._type

    def shape(self) -> List[int]:
        return list(self._shape)

    def is_cpu(self) -> bool:
        return True

    def as_numpy(self) -> Any:
        """A view of the tensor's memory; BYTES as an array of bytes objects."""
        if self._type == BF16:
            raise TritonModelException(
                f"tensor '{self._name}' is BF16, which numpy does not have: use DLPack"
            )
        array = self._array
        return self._elements() if array is None else array

    def to_dlpack(self) -> Any:
        """A capsule with a `DLTensor` over the tensor's memory."""
        if self._type == STRING:
            raise TritonModelException(
                f"tensor '{self._name}' is BYTES, which DLPack does not have"
            )
        return dlpack.export(self._elements(), self._type)

    def __dlpack__(self, stream: Any = None, **_: Any) -> Any:
        return self.to_dlpack()

    def __dlpack_device__(self) -> Tuple[int, int]:
        return dlpack.CPU, 0

    @staticmethod
    def from_dlpack(name: str, tensor: Any) -> Tensor:
        """A tensor over the memory of a DLPack capsule, or of an object that gives one."""
        array, kind = dlpack.take(tensor)
        made = Tensor(name, array)
        made._type = kind
        return made

    def _elements(self) -> Any:
        array = self._array
        if array is None:
            base, offset, sent = self._source
            if self._type == STRING:
                array = self._read_strings(base, offset)
            elif self._size and sent:
                array = np.ndarray(self._shape, ELEMENTS[self._type], base, offset).copy()
                self._source = None
            elif self._size:
                array = np.ndarray(self._shape, ELEMENTS[self._type], base, offset)
                base.base.views[id(array)] = (ref(array), offset)
            else:
                array = np.empty(self._shape, ELEMENTS[self._type])
            self._array = array
        return array

    def _read_strings(self, base: Any, offset: int) -> Any:
        address = 0
        if self._size:
            block = base.base
            address = block.segment.address + block.offset + offset
        return byte_tensors.read(address, self._size, self._shape)

    def _location(self) -> Tuple[LentBlock, int, int] | None:
        """Where the elements lie in the server's memory (block, segment, offset), if so."""
        if self._source is not None:
            base, offset, _ = self._source
            if base is None:
                return None
            block = base.base
            return block, block.segment.id, block.offset + offset
        if self._strings is not None:
            return None
        array = self._array
        owner = array.base
        while type(owner) is np.ndarray:
            owner = owner.base
        if type(owner) is not LentBlock:
            return None
        known = owner.views.get(id(array))
        if known is not None and known[0]() is array:
            return owner, owner.segment.id, owner.offset + known[1]
        if not array.flags.c_contiguous:
            return None
        address = array.__array_interface__["data"][0]
        return owner, owner.segment.id, address - owner.segment.address

    def _send(self) -> Tuple[LentBlock, int, int] | None:
        """_location(), if no array of the model's is a view of it, nor will be."""
        if self._source is None or (self._array is not None and self._type != STRING):
            return None
        base, offset, _ = self._source
        self._source = base, offset, True
        return self._location()

    def _snapshot(self) -> Tensor:
        """A tensor with what this one holds now."""
        if self._strings is not None or self._send() is not None:
            return self
        copy = received(self._name, self._type, self._shape, self._size, None, 0)
        copy._source = None
        copy._array = self._elements().copy()
        return copy

    def _write(self, segment: Any, offset: int) -> None:
        """Copies the elements to a block."""
        if self._strings is not None:
            byte_tensors.write(self._strings, segment.address + offset, self._size)
        elif self._source is not None:
            base, start, _ = self._source
            segment.array[offset : offset + self._size] = base[start : start + self._size]
        elif self._size <= 16384:
            segment.view[offset : offset + self._size] = self._array.tobytes()
        else:
            array = self._array
            np.copyto(np.ndarray(array.shape, array.dtype, segment.array, offset), array)

    def __repr__(self) -> str:
        return f"Tensor({self._name!r}, type {self._type}, shape {list(self._shape)})"


def received(name: str, kind: int, shape: Any, size: int, base: Any, offset: int) -> Tensor:
    """The tensor of `size` bytes at `offset` of a block (an array over a LentBlock)."""
    tensor = _new(Tensor)
    tensor._name = name
    tensor._type = kind
    tensor._shape = shape
    tensor._size = size
    tensor._source = (base, offset, False)
    tensor._array = None
    tensor._strings = None
    return tensor


_new = Tensor.__new__
