"""The channel to the server: packets over one SOCK_SEQPACKET socket.

Sending needs no lock: the kernel keeps packets whole. Receiving is a role that one thread at a
time has: the main thread while it is idle, else a thread that waits for something, else the relief
thread (relief.py). Who gives the role up wakes another that waits, so that as long as anyone waits
someone reads. Handlers run on the thread that has the role and must be short.
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
import struct
import sys
import threading
import time
import traceback
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Sequence, Tuple

import numpy as np

from .memory import BlockArena, LentBlock, Segment

SEGMENT = 1
DROP_SEGMENT = 2
RELEASE = 3
INITIALIZE = 4
INITIALIZED = 5
EXECUTE = 6
RESPONSES = 7
RESPONSE = 8
EXECUTED = 9
CANCEL = 10
FINALIZE = 11
CHECK_READY = 12
READY = 13
LOG = 14
LOG_SETTINGS = 15
BLS_REQUEST = 16
BLS_RESPONSE = 17
BLS_CANCEL = 18
BLS_TAKEN = 24
CALL = 19
RETURN = 20
HOLD = 22
GO_ON = 23

_OUT_OF_LINE = 1
_INLINE_BYTES = 64 << 10
_HEADER = struct.Struct("<HHIQQ")
_SEGMENT = struct.Struct("<IQ")
_IDENTIFIER = struct.Struct("<I")
_BLOCK = struct.Struct("<IQ")
_ANCILLARY = socket.CMSG_SPACE(4)
_RECEIVE = socket.MSG_CMSG_CLOEXEC

# Releases wait for company: one packet for many. Below the first limits they wait until the
# worker is idle, above the second they do not wait for the end of an execution.
_RELEASES = 16
_RELEASED_BYTES = 256 << 10
_URGENT_RELEASES = 64
_URGENT_RELEASED_BYTES = 1 << 20

# Answers wait for company while batches end one soon after the other (on average, of which a long
# pause is a part that counts).
_QUICK_NS = 250_000
_PAUSE_NS = 10_000_000
_MOST_ANSWERS = 8
_MOST_ANSWER_BYTES = 4096  # of one
_ANSWERS_WAIT_NS = 200_000

Handler = Callable[[bytes], None]


class Waiter:
    """Something that a thread waits for: `done` and a way to wake the thread."""

    __slots__ = ("done", "wake")

    def __init__(self) -> None:
        self.done = False
        self.wake = threading.Event()


class Channel:
    """This worker's end. Ends the process when the server's end is gone."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._role = threading.Lock()
        self._followers: Deque[Waiter] = deque()
        self._buffer = bytearray(_INLINE_BYTES + 4096)
        self._received = memoryview(self._buffer)
        self._released: Deque[Tuple[int, int, int]] = deque()
        self._released_bytes = 0
        self._abandoned = False
        # RESPONSES that are not sent yet.
        self._answers: Deque[Tuple[bytes, Sequence[Tuple[int, int, int]]]] = deque()
        self._first_answer_ns = self._last_answer_ns = time.monotonic_ns()
        self._between_answers_ns = _PAUSE_NS
        self.arena = BlockArena(self._announce, self._withdraw)
        self._segments: Dict[int, Segment] = {}
        self._descriptors: List[int] = []
        self.handlers: Dict[int, Handler] = {
            SEGMENT: self._map,
            DROP_SEGMENT: self._unmap,
            RELEASE: self._take_back,
        }
        self.on_idle: Callable[[], None] = self._idle

    # ---- sending, from any thread

    def send(self, kind: int, body: bytes) -> None:
        if self._answers:
            self.send_answers()
        self._send(kind, body)

    def post_answers(self, body: bytes, gone: Sequence[Tuple[int, int, int]]) -> None:
        """RESPONSES of a batch; `gone` are blocks of the server's that are released with it.

        While batches are quick it may wait for those of the next ones, for about 200 us, so that
        two busy processes need not wake each other for each batch. It is sent before anything else
        is, and before the main thread waits; the relief thread sends it when the next execution
        turns out to be long. Main thread only.
        """
        now = time.monotonic_ns()
        passed = min(now - self._last_answer_ns, _PAUSE_NS)
        self._last_answer_ns = now
        self._between_answers_ns += (passed - self._between_answers_ns) >> 4
        if not self._answers:
            self._first_answer_ns = now
        self._answers.append((body, gone))
        if (
            self._between_answers_ns > _QUICK_NS
            or len(body) > _MOST_ANSWER_BYTES
            or len(self._answers) >= _MOST_ANSWERS
            or now - self._first_answer_ns > _ANSWERS_WAIT_NS
        ):
            self.send_answers()

    def send_answers(self) -> None:
        """What post_answers() left, if anything. From any thread."""
        bodies = []
        gone: List[Tuple[int, int, int]] = []
        try:
            while self._answers:
                # Each is taken by one thread only.
                with contextlib.suppress(IndexError):
                    body, blocks = self._answers.popleft()
                    bodies.append(body)
                    gone += blocks
            if bodies:
                self._send(RESPONSES, b"".join(bodies))
        except BaseException:
            # Nobody would answer those batches, whoever's thread this is.
            traceback.print_exc()
            os._exit(1)
        for block in gone:
            self.released(block)

    def has_answers(self) -> bool:
        """Whether any wait."""
        return bool(self._answers)

    def _send(self, kind: int, body: bytes) -> None:
        if len(body) <= _INLINE_BYTES:
            packet = _HEADER.pack(kind, 0, 0, 0, len(body)) + body
        else:
            segment, offset = self.arena.allocate(len(body))
            segment.view[offset : offset + len(body)] = body
            packet = _HEADER.pack(kind, _OUT_OF_LINE, segment.id, offset, len(body))
        try:
            self._socket.send(packet)
        except (BrokenPipeError, ConnectionResetError):
            os._exit(1)
        except OSError:
            if not self._abandoned:
                raise

    def released(self, block: Tuple[int, int, int]) -> None:
        """A block of the server's (segment, offset, length) is not needed any more; it is told in
        time.
        """
        self._released.append(block)
        self._released_bytes += block[2]
        if len(self._released) > _URGENT_RELEASES or self._released_bytes > _URGENT_RELEASED_BYTES:
            self.flush_releases()

    def settle_releases(self) -> None:
        """Called after an execution: sends releases when there are enough of them."""
        if len(self._released) >= _RELEASES or self._released_bytes >= _RELEASED_BYTES:
            self.flush_releases()

    def flush_releases(self) -> None:
        # Each release is taken by one thread only; the sum may miss one that comes meanwhile.
        self._released_bytes = 0
        parts = []
        try:
            while True:
                segment, offset, _ = self._released.popleft()
                parts.append(_BLOCK.pack(segment, offset))
        except IndexError:
            pass
        if parts:
            self.send(RELEASE, b"".join(parts))

    # ---- receiving

    def wait(self, waiter: Waiter) -> None:
        """Until `waiter.done`, reading when no one else does."""
        if self._answers:
            self.send_answers()
        while not waiter.done:
            if self._role.acquire(False):
                try:
                    while not waiter.done:
                        self._read(_RECEIVE)
                finally:
                    self._role.release()
            else:
                self._follow(waiter)
        if self._followers:
            self._pass_on()

    def complete(self, waiter: Waiter) -> None:
        """What `waiter` waits for is there."""
        waiter.done = True
        if self._followers:
            waiter.wake.set()

    def drain(self) -> None:
        """Reads what has come, without blocking; nothing when another thread reads."""
        if not self._role.acquire(False):
            return
        try:
            while self._read(_RECEIVE | socket.MSG_DONTWAIT):
                pass
        finally:
            self._role.release()
        if self._followers:
            self._pass_on()

    def _follow(self, waiter: Waiter) -> None:
        waiter.wake.clear()
        self._followers.append(waiter)
        # Who gives the role up looks at the followers after that, so one of us sees the other.
        if not waiter.done and self._role.locked():
            waiter.wake.wait()
        self._followers.remove(waiter)

    def _pass_on(self) -> None:
        with contextlib.suppress(IndexError):
            self._followers[0].wake.set()

    def _read(self, flags: int) -> bool:
        """Handles one packet. False when none came: within the socket's timeout, or at all."""
        try:
            size, ancillary, _, _ = self._socket.recvmsg_into([self._buffer], _ANCILLARY, flags)
        except BlockingIOError:
            if not flags & socket.MSG_DONTWAIT:
                self.on_idle()
            return False
        except ConnectionResetError:
            size = 0
        if size == 0:
            sys.stdout.flush()
            os._exit(1)
        if ancillary:
            self._take_descriptors(ancillary)
        kind, packet_flags, segment, offset, length = _HEADER.unpack_from(self._buffer)
        if packet_flags & _OUT_OF_LINE:
            body = bytes(self._segments[segment].view[offset : offset + length])
            self.released((segment, offset, length))
        else:
            body = self._received[_HEADER.size : size].tobytes()
        try:
            self.handlers[kind](body)
        except Exception:
            # No code of the model runs here: the two sides do not understand each other.
            traceback.print_exc()
            os._exit(1)
        return True

    def fileno(self) -> int:
        return self._socket.fileno()

    def abandon(self) -> None:
        """In a forked child: closes the child's copy of the descriptor. What the child's objects
        still send, as they go, is nobody's.
        """
        self._abandoned = True
        self._answers.clear()
        self._socket.close()

    # ---- idleness

    def arm_idle(self, seconds: int) -> None:
        """`on_idle` is called when nothing came for that long; never with 0."""
        self._socket.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", seconds, 0)
        )

    def _idle(self) -> None:
        self.flush_releases()
        self.arena.trim()

    # ---- segments

    def lent(self, segment: int, offset: int, length: int) -> Any:
        """A block that the server hands over, as an array of bytes; None when it is empty."""
        if not length:
            return None
        return np.asarray(LentBlock(self._segments[segment], offset, length, self.released))

    def _take_descriptors(self, ancillary: List[Tuple[int, int, bytes]]) -> None:
        for _, _, data in ancillary:
            self._descriptors.extend(array.array("i", data[: len(data) // 4 * 4]))

    def _map(self, body: bytes) -> None:
        identifier, size = _SEGMENT.unpack(body)
        descriptor = self._descriptors.pop()
        try:
            self._segments[identifier] = Segment(identifier, descriptor, size)
        finally:
            os.close(descriptor)

    def _unmap(self, body: bytes) -> None:
        self._segments.pop(_IDENTIFIER.unpack(body)[0])

    def _take_back(self, body: bytes) -> None:
        for identifier, offset in _BLOCK.iter_unpack(body):
            self.arena.release(identifier, offset)

    def _announce(self, segment: Segment, descriptor: int) -> None:
        body = _SEGMENT.pack(segment.id, segment.size)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", descriptor))]
        try:
            self._socket.sendmsg([_HEADER.pack(SEGMENT, 0, 0, 0, len(body)), body], rights)
        except (BrokenPipeError, ConnectionResetError):
            os._exit(1)

    def _withdraw(self, identifier: int) -> None:
        # With the arena's lock held, and no block of it out: not send(), which may need one.
        self._send(DROP_SEGMENT, _IDENTIFIER.pack(identifier))
