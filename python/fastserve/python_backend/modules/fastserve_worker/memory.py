"""Memory that the server and this worker share: mapped memfds, and blocks in them."""

from __future__ import annotations

import ctypes
import fcntl
import os
import threading
import time
from typing import Any, Callable, Dict, List, Tuple

import numpy as np

_F_ADD_SEALS = 1033
_SEAL_SHRINK_GROW = 1 | 2 | 4  # SEAL, SHRINK, GROW
_MFD_CLOEXEC_SEALABLE = 1 | 2
_READ_WRITE = 1 | 2
_MAP_SHARED = 1
_FAILED = ctypes.c_void_p(-1).value

# Through ctypes: interpreters built on old systems have no os.memfd_create, and mmap.mmap keeps a
# duplicate of the descriptor.
_libc: Any = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]

SMALLEST = 12  # 4 KiB, as a power of two
LARGEST_SHARED = 20  # 1 MiB: a larger block has a segment of its own
SEGMENT_BYTES = 1 << 20
KEPT_BYTES = 64 << 20
KEPT_S = 30.0
OWN_SEGMENTS = 1 << 31


class Segment:
    """One mapped memfd; unmapped when nothing refers to it."""

    __slots__ = ("address", "array", "id", "idle_since", "order", "size", "used", "view")

    def __init__(self, identifier: int, descriptor: int, size: int) -> None:
        """OSError when it cannot be mapped. The descriptor stays the caller's."""
        address = _libc.mmap(None, size, _READ_WRITE, _MAP_SHARED, descriptor, 0)
        if address == _FAILED:
            raise OSError(ctypes.get_errno(), f"cannot map segment {identifier} of {size} bytes")
        self.id = identifier
        self.size = size
        self.address: int = address
        memory = (ctypes.c_ubyte * size).from_address(address)
        self.view = memoryview(memory).cast("B")
        self.array: Any = np.frombuffer(self.view, np.uint8)
        # Of a segment of the arena: its blocks' size as a power of two, how many are out, and
        # since when none is.
        self.order = 0
        self.used = 0
        self.idle_since = 0.0

    def __del__(self) -> None:
        if hasattr(self, "address"):
            _libc.munmap(self.address, self.size)


class LentBlock:
    """A block of the server's. numpy arrays over it keep it (it is their base); when the last of
    them is gone it calls `released` with segment, offset and length, on whatever thread that is.

    `views` remembers where the arrays of tensors start: id -> (weak reference, offset). It spares
    an input that is returned as it is the question for its address, which numpy answers slowly.
    """

    __slots__ = (
        "__array_interface__",
        "__weakref__",
        "length",
        "offset",
        "released",
        "segment",
        "views",
    )

    def __init__(
        self,
        segment: Segment,
        offset: int,
        length: int,
        released: Callable[[Tuple[int, int, int]], None],
    ) -> None:
        if offset + length > segment.size:
            raise ValueError(f"block {offset}+{length} is not in segment {segment.id}")
        self.segment = segment
        self.offset = offset
        self.length = length
        self.released = released
        self.views: Dict[int, Tuple[Any, int]] = {}
        self.__array_interface__ = {
            "data": (segment.address + offset, False),
            "shape": (length,),
            "typestr": "|u1",
            "version": 3,
        }

    def __del__(self) -> None:
        if hasattr(self, "released"):
            self.released((self.segment.id, self.offset, self.length))


class BlockArena:
    """Blocks for outputs, in segments of this worker's.

    Thread-safe. Each segment holds blocks of one power of two. Invariants: 1. a block is either in
    `_free` or in `_lent`; 2. `free_bytes` is the sum of the sizes of what is in `_free`.
    """

    def __init__(
        self, announce: Callable[[Segment, int], None], withdraw: Callable[[int], None]
    ) -> None:
        """`announce` tells the server of a new segment and its descriptor, `withdraw` of the end of
        one. Both are called with the arena's lock held.
        """
        self._announce = announce
        self._withdraw = withdraw
        self._lock = threading.Lock()
        self._free: Dict[int, List[Tuple[Segment, int]]] = {}
        self._lent: Dict[Tuple[int, int], Segment] = {}
        self._segments: Dict[int, Segment] = {}
        self._next = OWN_SEGMENTS
        self.free_bytes = 0

    def allocate(self, length: int) -> Tuple[Segment, int]:
        """A block of at least `length` bytes: its segment and its offset. OSError when the system
        has no memory.
        """
        order = max(SMALLEST, (length - 1).bit_length())
        with self._lock:
            free = self._free.get(order)
            if not free:
                free = self._free.setdefault(order, [])
                self._add_segment(order, free)
            segment, offset = block = free.pop()
            self.free_bytes -= 1 << order
            segment.used += 1
            self._lent[(segment.id, offset)] = segment
        return block

    def release(self, identifier: int, offset: int) -> None:
        """The server does not need the block any more. KeyError when it was not lent."""
        with self._lock:
            segment = self._lent.pop((identifier, offset))
            self._free[segment.order].append((segment, offset))
            self.free_bytes += 1 << segment.order
            segment.used -= 1
            if segment.used == 0:
                segment.idle_since = time.monotonic()
                if self.free_bytes > KEPT_BYTES:
                    self._drop(segment)

    def lent(self, identifier: int, offset: int) -> Segment:
        """The segment of a block that is out. KeyError when it is not."""
        with self._lock:
            return self._lent[(identifier, offset)]

    def trim(self) -> bool:
        """Drops segments that were unused for long; whether free ones are left."""
        with self._lock:
            before = time.monotonic() - KEPT_S
            idle = [segment for segment in self._segments.values() if segment.used == 0]
            for segment in idle:
                if segment.idle_since < before:
                    self._drop(segment)
            return bool(idle)

    def _add_segment(self, order: int, free: List[Tuple[Segment, int]]) -> None:
        size = max(SEGMENT_BYTES, 1 << order)
        descriptor = _libc.memfd_create(b"fastserve-worker", _MFD_CLOEXEC_SEALABLE)
        if descriptor < 0:
            raise OSError(ctypes.get_errno(), "cannot create shared memory")
        try:
            os.ftruncate(descriptor, size)
            fcntl.fcntl(descriptor, _F_ADD_SEALS, _SEAL_SHRINK_GROW)
            segment = Segment(self._next, descriptor, size)
            segment.order = order
            self._announce(segment, descriptor)
        finally:
            os.close(descriptor)
        self._next += 1
        self._segments[segment.id] = segment
        # From the end, so that the first block is used first.
        free.extend((segment, offset) for offset in range(size - (1 << order), -1, -(1 << order)))
        self.free_bytes += size

    def _drop(self, segment: Segment) -> None:
        free = self._free[segment.order]
        free[:] = [block for block in free if block[0] is not segment]
        self.free_bytes -= segment.size
        del self._segments[segment.id]
        self._withdraw(segment.id)
