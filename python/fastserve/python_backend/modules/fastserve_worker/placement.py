"""Where the bytes of a message's tensors are: copied into one block of this worker's, or left in
the server's memory.
"""

from __future__ import annotations

from typing import Any, List, Sequence, Tuple
from weakref import ref

from .channel import Channel
from .memory import LentBlock, Segment
from .tensor import Tensor

_ALIGNMENT = 64
NOWHERE = (0, 0)  # of outputs without bytes

# Name, type, shape, size, and where: segment and offset, or the offset in a block that is to come.
Output = Tuple[bytes, int, Sequence[int], int, Any]


class Placement:
    """Where tensors of one message go: first every size is added, then the block is taken, then
    bytes are copied. Not thread-safe.
    """

    __slots__ = ("blocks", "copies", "filled", "length", "ranges")

    def __init__(self) -> None:
        self.length = 0
        self.copies: List[Tuple[Tensor, int]] = []
        self.filled: Tuple[Segment, int, int] | None = None
        # Bytes of the server's that are copied after all: segment, offset, size, where to.
        self.ranges: List[Tuple[Segment, int, int, int]] = []
        # The server's blocks that the message refers to.
        self.blocks: List[LentBlock] = []

    def place(self, tensor: Tensor, found: Any) -> Any:
        """Where an output is. `found`: a block of the server's that has it and the offset in its
        segment, NOWHERE, or None when it is to be copied.
        """
        if found is None:
            return self.add(tensor)
        if found is NOWHERE:
            return found
        block, offset = found
        if block not in self.blocks:
            self.blocks.append(block)
        return block.segment.id, offset

    def add(self, tensor: Tensor) -> int:
        """The offset in the block that is to come."""
        at = self.length
        self.copies.append((tensor, at))
        self.length = (at + tensor._size + _ALIGNMENT - 1) & -_ALIGNMENT
        return at

    def add_if_in(self, block: LentBlock, output: Output) -> Output:
        """The output, if it lies in `block` one that is copied from there."""
        where, size = output[4], output[3]
        if type(where) is not tuple or where[0] != block.segment.id or not size:
            return output
        if not block.offset <= where[1] < block.offset + block.length:
            return output
        at = self.length
        self.ranges.append((block.segment, where[1], size, at))
        self.length = (at + size + _ALIGNMENT - 1) & -_ALIGNMENT
        return (*output[:4], at)

    def copy(self, channel: Channel) -> Tuple[int, int]:
        """Takes the block and fills it: its segment and offset. Lets go of the tensors."""
        if not self.length:
            return 0, 0
        segment, start = channel.arena.allocate(self.length)
        try:
            for tensor, at in self.copies:
                tensor._write(segment, start + at)
        except BaseException:
            channel.arena.release(segment.id, start)
            raise
        self.copies.clear()
        self.filled = (segment, start, self.length)
        return segment.id, start

    def copy_ranges(self, channel: Channel) -> Tuple[int, int]:
        """Another block, with what copy() has put into the first one and the ranges."""
        segment, start = channel.arena.allocate(self.length)
        if self.filled is not None:
            first, begin, size = self.filled
            segment.array[start : start + size] = first.array[begin : begin + size]
            channel.arena.release(first.id, begin)
        for source, offset, size, at in self.ranges:
            into = start + at
            segment.array[into : into + size] = source.array[offset : offset + size]
        return segment.id, start


class Answer:
    """One response on its way: bytes, and outputs whose place is known when the block is."""

    __slots__ = ("head", "outputs")

    def __init__(self, head: bytes, outputs: Sequence[Output] = ()) -> None:
        self.head = head
        self.outputs = outputs


class Loan:
    """Blocks of the server's that a message refers to, on their way back to the server.

    The message says where the bytes are and keeps no array alive. So a block that stays alive when
    the worker has let go of requests and responses is kept by the model, which may write to it
    while the message is read: such a one is copied. The others are told to the server by
    `give_back`, after the message.
    """

    __slots__ = ("_gone", "_kept", "_watched", "kept_at")

    def __init__(self, blocks: List[LentBlock]) -> None:
        """Empties `blocks`."""
        self._gone: List[Tuple[int, int, int]] = []
        self._kept: List[LentBlock] = []
        self._watched = [ref(block) for block in blocks]
        for block in blocks:
            block.released = self._collect
        blocks.clear()

    def copy_kept(self, planned: List[Answer], placement: Placement) -> None:
        """Has the outputs copied that lie in blocks which the model keeps."""
        self._kept = [block for block in [known() for known in self._watched] if block is not None]
        for block in self._kept:
            for answer in planned:
                answer.outputs = [placement.add_if_in(block, output) for output in answer.outputs]

    def give_back(self, channel: Channel) -> None:
        for block in self._kept:
            block.released = channel.released
        for released in self._gone:
            channel.released(*released)

    def _collect(self, segment: int, offset: int, length: int) -> None:
        self._gone.append((segment, offset, length))
