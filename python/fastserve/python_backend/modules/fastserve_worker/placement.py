"""Where the bytes of a message's tensors are: copied into one block of this worker's, or left in
the server's memory.
"""

from __future__ import annotations

from typing import Callable, List, Sequence, Tuple
from weakref import ref

from .channel import Channel
from .memory import LentBlock, Segment
from .tensor import Tensor

_ALIGNMENT = 64


class Placement:
    """Where tensors of one message go: first every size is added, then the block is taken, then
    bytes are copied. Not thread-safe.
    """

    __slots__ = ("blocks", "copies", "length")

    def __init__(self) -> None:
        self.length = 0
        self.copies: List[Tuple[Tensor, int]] = []
        # The server's blocks that the message refers to.
        self.blocks: List[LentBlock] = []

    def add(self, tensor: Tensor) -> int:
        """The offset in the block that is to come."""
        at = self.length
        self.copies.append((tensor, at))
        self.length = (at + tensor._size + _ALIGNMENT - 1) & -_ALIGNMENT
        return at

    def copy(self, channel: Channel) -> Tuple[int, int]:
        """Takes the block and fills it: its segment and offset."""
        if not self.length:
            return 0, 0
        segment, start = channel.arena.allocate(self.length)
        try:
            for tensor, at in self.copies:
                tensor._write(segment, start + at)
        except BaseException:
            channel.arena.release(segment.id, start)
            raise
        return segment.id, start

    def let_go(
        self, channel: Channel, let_go: Callable[[], None]
    ) -> Tuple[List[Tuple[int, int, int]], Sequence[LentBlock]]:
        """Has the worker forget the requests and responses of a message, by `let_go`. The blocks
        that the message refers to, and which nothing else needs: they are to be released when it
        was sent. And those that stay alive, because the model keeps an array of them or so.
        """
        gone: List[Tuple[int, int, int]] = []
        watched = []
        for block in self.blocks:
            block.released = gone.append
            watched.append(ref(block))
        del block, self.blocks, self.copies
        let_go()
        if len(gone) == len(watched):
            return gone, ()
        kept = [block for block in [known() for known in watched] if block is not None]
        for block in kept:
            block.released = channel.released
        return gone, kept


class Moves:
    """Copies of what a message refers to into a block of its own. The message's places are
    `(segment, offset, size)`.
    """

    def __init__(self, own: Tuple[int, int], length: int, kept: Sequence[LentBlock]) -> None:
        """`own`: the block that the message has, of `length` bytes; `kept`: blocks of the server's
        that it may not refer to.
        """
        self._own = own
        self._kept = kept
        self._ranges: List[Tuple[Segment, int, int, int]] = []
        self.length = length

    def place(self, segment: int, offset: int, size: int) -> int:
        """The offset in the new block of what has to move, or -1."""
        if not size:
            return -1
        if segment == self._own[0]:
            return offset - self._own[1]
        for block in self._kept:
            if segment == block.segment.id and 0 <= offset - block.offset < block.length:
                at = self.length
                self._ranges.append((block.segment, offset, size, at))
                self.length = (at + size + _ALIGNMENT - 1) & -_ALIGNMENT
                return at
        return -1

    def copy(self, channel: Channel, own_length: int) -> Tuple[int, int]:
        """Takes the new block, fills it, and gives the former one back."""
        try:
            segment, start = channel.arena.allocate(self.length)
            if own_length:
                former = channel.arena.lent(*self._own)
                begin = self._own[1]
                segment.array[start : start + own_length] = former.array[begin : begin + own_length]
        finally:
            if own_length:
                channel.arena.release(*self._own)
        for source, offset, size, at in self._ranges:
            into = start + at
            segment.array[into : into + size] = source.array[offset : offset + size]
        return segment.id, start
