"""Responses of decoupled requests whose readers do not keep up."""

from __future__ import annotations

import functools
import os
import threading
import traceback
from collections import OrderedDict, deque
from typing import Any, Callable, Deque, Sequence, Tuple

from . import wire
from .channel import RESPONSE, Channel
from .errors import NoRoom, TritonError, TritonModelException
from .messages import RESPONSE_FINAL, InferenceResponse
from .responses import snapshot

REQUEST_BYTES = 64 << 20
WORKER_BYTES = 256 << 20
_RESPONSE_BYTES = 1024  # what a response takes beside its tensors, about
_AT_ONCE = 16

# A response or None, its flags, the outputs that were asked for, its bytes.
_Entry = Tuple[Any, int, Sequence[str], int]


class _Held:
    """A request whose responses are queued."""

    __slots__ = ("bytes", "ended", "failure", "paused", "queue")

    def __init__(self) -> None:
        self.paused = True
        self.ended = False  # its last response was sent
        self.queue: Deque[_Entry] = deque()
        self.bytes = 0
        self.failure = ""


class Backlog:
    """Keeps responses between HOLD and GO_ON, so that whoever sends them goes on with other
    requests. A thread of its own sends them when the reader has caught up. Thread-safe.

    What waits is bounded, by request and in all: beyond that, a sender waits, or raises where it
    must not wait. Invariants: 1. responses of one request leave in their order: while it is in
    `_held`, all go through its queue; 2. only the thread of this class takes from a queue.
    """

    def __init__(self, channel: Channel, take_over: Callable[[], None]) -> None:
        """`take_over`: makes sure that a thread reads the channel while this one does not."""
        self._channel = channel
        self._take_over = take_over
        # Reentrant, because a sender that a garbage collection finds sends an error.
        self._changed = threading.Condition(threading.RLock())
        # Guarded by it; read without it by who asks whether a request is held at all. Whose turn it
        # is comes first.
        self._held: OrderedDict[int, _Held] = OrderedDict()
        self._bytes = 0
        self._thread: threading.Thread | None = None

    def hold(self, handle: int) -> None:
        """The reader of the request does not keep up."""
        with self._changed:
            self._held.setdefault(handle, _Held()).paused = True

    def go_on(self, handle: int) -> None:
        """It has caught up, or does not matter any more."""
        with self._changed:
            held = self._held.get(handle)
            if held is None:
                return
            held.paused = False
            if held.queue:
                self._wake()
            else:
                self.forget(handle)

    def forget(self, handle: int) -> None:
        """The request is not held any more; what is queued is not sent."""
        with self._changed:
            held = self._held.pop(handle, None)
            if held is not None:
                self._bytes -= held.bytes
                self._changed.notify_all()

    def await_sent(self, handle: int) -> None:
        """Until nothing of the request waits for its reader."""
        with self._changed:
            while handle in self._held:
                self._take_over()
                self._changed.wait()

    def holds(self, handle: int) -> bool:
        return handle in self._held

    def add(
        self, handle: int, flags: int, response: Any, names: Sequence[str], *, may_wait: bool
    ) -> bool:
        """Queues a response; False when the request is not held (any more). When there is no room,
        NoRoom, or TritonModelException if the calling thread must not wait for it.
        """
        if response is not None:
            wire.check_response(response, names)
            self._demand_room(handle, response, may_wait)
            response = snapshot(response)
        size = _size(response)
        with self._changed:  # other senders may have taken the room: each exceeds it by one
            held = self._held.get(handle)
            if held is None:
                return False
            if held.failure:
                self._refuse(handle, held.failure, flags)
                return True
            held.queue.append((response, flags, names, size))
            held.bytes += size
            self._bytes += size
            if not held.paused:
                self._wake()
            elif flags:
                self._changed.notify_all()  # who waits for room comes too late
            return True

    def _demand_room(self, handle: int, response: InferenceResponse, may_wait: bool) -> None:
        with self._changed:
            held = self._held.get(handle)
            if held is None or held.failure or self._has_room(held, response):
                return
            if may_wait:
                raise NoRoom(functools.partial(self._await_room, handle))
            raise TritonModelException(
                f"the reader of the request does not keep up: {len(held.queue)} responses "
                f"of {held.bytes} bytes wait for it; the limits are {REQUEST_BYTES} bytes "
                f"of one request and {WORKER_BYTES} of all"
            )

    def _await_room(self, handle: int) -> None:
        """Or until the request is not held any more, has failed, or is sent nothing more."""
        with self._changed:
            while True:
                held = self._held.get(handle)
                if held is None or held.failure or not held.queue or held.queue[-1][1]:
                    return
                if self._is_below_limits(held):
                    return
                self._take_over()
                self._changed.wait()

    def _has_room(self, held: _Held, response: Any) -> bool:
        """An end or an error always has: it is the last one."""
        if response is None or response.has_error() or not held.queue:
            return True
        return self._is_below_limits(held)

    def _is_below_limits(self, held: _Held) -> bool:
        return held.bytes < REQUEST_BYTES and self._bytes < WORKER_BYTES

    def _refuse(self, handle: int, failure: str, flags: int) -> None:
        """The request has ended with an error, but its model does not know."""
        if not flags & RESPONSE_FINAL:
            raise TritonModelException(failure)
        self.forget(handle)

    # ---- sending

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="fastserve-backlog", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _next(self) -> Tuple[int, _Held]:
        with self._changed:
            while True:
                for handle, held in self._held.items():
                    if held.queue and not held.paused:
                        return handle, held
                self._changed.wait()

    def _run(self) -> None:
        try:
            while True:
                handle, held = self._next()
                for _ in range(_AT_ONCE):
                    if held.paused or not self._send_one(handle, held):
                        break
                self._turn_ends(handle, held)
                self._channel.drain()  # perhaps another HOLD
        except BaseException:
            traceback.print_exc()
            os._exit(1)  # nobody would send what waits

    def _turn_ends(self, handle: int, held: _Held) -> None:
        with self._changed:
            if held.ended or not (held.queue or held.paused or held.failure):
                self.forget(handle)
            elif handle in self._held:
                self._held.move_to_end(handle)
            self._changed.notify_all()

    def _send_one(self, handle: int, held: _Held) -> bool:
        """False when there is nothing more."""
        with self._changed:
            if not held.queue:
                return False
            response, flags, names, size = held.queue.popleft()
            held.bytes -= size
            self._bytes -= size
        try:
            body = wire.pack_response(
                self._channel, handle, flags, wire.NOTHING if response is None else response, names
            )
        except Exception as failure:
            traceback.print_exc()
            self._fail(handle, held, f"the response cannot be sent: {failure}", flags)
            return False
        self._channel.send(RESPONSE, body)
        if flags:  # final, or rescheduled
            held.ended = True
            return False
        return True

    def _fail(self, handle: int, held: _Held, failure: str, flags: int) -> None:
        """No memory: the request ends here, with an error, and its later responses are refused."""
        with self._changed:
            ended = flags | (held.queue[-1][1] if held.queue else 0)
            self._bytes -= held.bytes
            held.bytes = 0
            held.queue.clear()
            held.paused = False
            held.ended = bool(ended & RESPONSE_FINAL)
            held.failure = failure
        error = wire.error(failure, TritonError.INTERNAL)
        body = wire.pack_response(self._channel, handle, RESPONSE_FINAL, error, ())
        self._channel.send(RESPONSE, body)


def _size(response: InferenceResponse | None) -> int:
    if response is None:
        return _RESPONSE_BYTES
    return _RESPONSE_BYTES + sum(tensor._size for tensor in response._outputs)
