"""Requests to other models (business logic scripting), and calls of the server's functions."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import itertools
import json
import struct
import threading
from collections import deque
from typing import Any, Awaitable, Callable, Coroutine, Deque, Dict, Iterator, List, Tuple

from . import wire
from .channel import BLS_CANCEL, BLS_REQUEST, BLS_TAKEN, CALL, Channel, Waiter
from .errors import TritonModelException
from .messages import NOBODY, Callers, InferenceRequest, InferenceResponse

_CALL = struct.Struct("<Q")
_NOTICES = 256  # by thread, at most so many are on their way
_TAKEN = struct.Struct("<QI")
_BLOCK_LENGTH = struct.Struct("<Q")
_BLOCK_LENGTH_AT = 21  # in BLS_RESPONSE

# The server is told what was taken when either has come together: a quarter of what it sends of a
# decoupled call before it holds the sender.
_TOLD_RESPONSES = 16
_TOLD_BYTES = 256 << 10

# The requests that the running code works for; contexts follow tasks and asyncio.to_thread.
callers: contextvars.ContextVar[Callers] = contextvars.ContextVar(
    "fastserve_callers", default=NOBODY
)


class _Call:
    """A request to another model on its way. Its fields are written by the thread that reads and
    taken by the one that waits.
    """

    __slots__ = (
        "abandoned",
        "ended",
        "listeners",
        "number",
        "responses",
        "taken",
        "taken_bytes",
        "waiter",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.responses: Deque[Tuple[InferenceResponse, int]] = deque()  # with the block's length
        self.taken = 0  # since the server was told
        self.taken_bytes = 0
        self.ended = False
        self.abandoned = False
        self.waiter = Waiter()
        self.listeners: List[Callable[[], None]] = []


class ResponseIterator:
    """The responses of a decoupled request, in order; the last may be empty. `for` waits on the
    calling thread, `async for` in its event loop. What is dropped before its end is cancelled.
    """

    def __init__(self, calls: Calls, call: _Call) -> None:
        self._calls = calls
        self._call = call

    def __iter__(self) -> Iterator[InferenceResponse]:
        return self

    def __next__(self) -> InferenceResponse:
        response = self._calls.next_response(self._call)
        if response is None:
            raise StopIteration
        return response

    def __aiter__(self) -> ResponseIterator:
        return self

    async def __anext__(self) -> InferenceResponse:
        response = await self._calls.next_response_async(self._call)
        if response is None:
            raise StopAsyncIteration
        return response

    def cancel(self) -> None:
        """Asks the server to end the request; its last response says so."""
        self._calls.cancel(self._call)

    def __del__(self) -> None:
        self._calls.abandon(self._call)


class Calls:
    """The calls of this worker that have not ended. Thread-safe."""

    def __init__(self, channel: Channel, take_over: Callable[[], None]) -> None:
        """`take_over`: makes sure that a thread reads the channel while this one does not."""
        self._channel = channel
        self._take_over = take_over
        self._numbers = itertools.count(1)
        self._notices = itertools.count(1)
        self._calls: Dict[int, _Call] = {}
        self._returns: Dict[int, Any] = {}
        self.default_callers: Callable[[], Callers] = lambda: NOBODY

    # ---- inference

    def execute(self, request: InferenceRequest, decoupled: bool) -> Any:
        call = self._send(request, decoupled)
        if decoupled:
            return ResponseIterator(self, call)
        response = self.next_response(call)
        return response if response is not None else InferenceResponse()

    def execute_async(self, request: InferenceRequest, decoupled: bool) -> Awaitable[Any]:
        call = self._send(request, decoupled)
        if decoupled:
            return _future_of(_ready(ResponseIterator(self, call)))
        return _future_of(self._await_response(call))

    async def next_response_async(self, call: _Call) -> InferenceResponse | None:
        while not call.responses:
            if call.ended:
                return None
            await self._change(call)
        return self._take(call)

    def next_response(self, call: _Call) -> InferenceResponse | None:
        """None after the last one. Blocks; the calling thread may read the channel meanwhile."""
        waiter = call.waiter
        while not call.responses:
            if call.ended:
                return None
            waiter.done = False
            if not call.responses and not call.ended:
                self._channel.wait(waiter)
        return self._take(call)

    def _take(self, call: _Call) -> InferenceResponse:
        response, length = call.responses.popleft()
        call.taken += 1
        call.taken_bytes += length
        if call.taken >= _TOLD_RESPONSES or call.taken_bytes >= _TOLD_BYTES:
            if not call.ended:
                self._channel.send(BLS_TAKEN, _TAKEN.pack(call.number, call.taken))
            call.taken = call.taken_bytes = 0
        return response

    def cancel(self, call: _Call) -> None:
        if not call.ended:
            self._channel.send(BLS_CANCEL, _CALL.pack(call.number))

    def abandon(self, call: _Call) -> None:
        """Nobody waits any more."""
        call.responses.clear()
        if not call.ended and not call.abandoned:
            call.abandoned = True
            self.cancel(call)

    def on_response(self, body: bytes) -> None:
        number, final, response = wire.read_bls_response(self._channel, body)
        call = self._calls[number]
        if final:
            del self._calls[number]
        if not call.abandoned:
            length = _BLOCK_LENGTH.unpack_from(body, _BLOCK_LENGTH_AT)[0]
            call.responses.append((response, length))
        call.ended = final
        self._channel.complete(call.waiter)
        for listener in list(call.listeners):
            listener()

    def _send(self, request: InferenceRequest, decoupled: bool) -> _Call:
        if not request._model:
            raise TritonModelException("the request names no model")
        call = _Call(next(self._numbers))
        made_for = request._callers if request._callers != NOBODY else self._callers()
        body = wire.pack_bls_request(self._channel, call.number, made_for, decoupled, request)
        self._calls[call.number] = call
        self._channel.send(BLS_REQUEST, body)
        return call

    def _callers(self) -> Callers:
        known = callers.get()
        return known if known != NOBODY else self.default_callers()

    async def _await_response(self, call: _Call) -> InferenceResponse:
        try:
            response = await self.next_response_async(call)
        except asyncio.CancelledError:
            self.abandon(call)
            raise
        return response if response is not None else InferenceResponse()

    async def _change(self, call: _Call) -> None:
        """Until a response came, or had come when this started."""
        loop = asyncio.get_running_loop()
        changed = loop.create_future()
        thread = threading.get_ident()

        def tell() -> None:
            if threading.get_ident() == thread:
                _settle(changed)
            else:
                loop.call_soon_threadsafe(_settle, changed)

        call.listeners.append(tell)
        try:
            if not call.responses and not call.ended:
                self._take_over()
                await changed
        finally:
            call.listeners.remove(tell)

    # ---- functions

    def call(self, method: str, **arguments: Any) -> Any:
        """The function's value. TritonModelException with the server's text when it fails."""
        number = next(self._numbers)
        waiter = Waiter()
        body = self._function(number, method, arguments)
        self._returns[number] = waiter
        self._channel.send(CALL, body)
        self._channel.wait(waiter)
        result = self._returns.pop(number)
        if result["error"] is not None:
            raise TritonModelException(result["error"][1])
        return result.get("value")

    def notify(self, method: str, **arguments: Any) -> None:
        """A call of which no one wants to know the result. Now and then it waits for the server all
        the same, so that a model in a loop does not get far ahead of it.
        """
        if next(self._notices) % _NOTICES:
            self.tell(method, **arguments)
        else:
            with contextlib.suppress(TritonModelException):
                self.call(method, **arguments)

    def tell(self, method: str, **arguments: Any) -> None:
        """notify() that never waits."""
        self._channel.send(CALL, self._function(0, method, arguments))

    def on_return(self, body: bytes) -> None:
        (number,) = _CALL.unpack_from(body)
        waiter = self._returns[number]
        self._returns[number] = json.loads(body[_CALL.size :])
        self._channel.complete(waiter)

    def _function(self, number: int, method: str, arguments: Dict[str, Any]) -> bytes:
        message = {"method": method, "args": arguments}
        try:
            return _CALL.pack(number) + json.dumps(message).encode()
        except (TypeError, ValueError) as failure:
            raise TritonModelException(f"{method}: {failure}") from failure


def _future_of(coroutine: Coroutine[Any, Any, Any]) -> Awaitable[Any]:
    """In an event loop a future, as code that gathers or waits for several of them expects."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return coroutine
    return asyncio.ensure_future(coroutine, loop=loop)


async def _ready(value: Any) -> Any:
    return value


def _settle(future: Any) -> None:
    if not future.done():
        future.set_result(None)
