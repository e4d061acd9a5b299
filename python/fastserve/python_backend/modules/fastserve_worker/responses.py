"""How requests are answered: by what `execute` returns, or through response senders."""

from __future__ import annotations

import functools
import threading
from typing import Any, Callable, List

from . import current
from .channel import Channel, Waiter
from .errors import TritonError, TritonModelException
from .messages import RESPONSE_FINAL, InferenceRequest, InferenceResponse

# (response or None, flags); raises when the response cannot be sent.
Deliver = Callable[[Any, int], None]


class Answer:
    """What one request is still owed. Thread-safe.

    Invariant: after `closed` nothing is delivered; a final response, or the end of the last
    reference, closes.
    """

    __slots__ = ("_deliver", "_lock", "cancelled", "closed")

    def __init__(self, deliver: Deliver, cancelled: List[bool]) -> None:
        self._deliver = deliver
        self._lock = threading.Lock()
        self.cancelled = cancelled
        self.closed = False

    def send(self, response: InferenceResponse | None, flags: int) -> None:
        with self._lock:
            if self.closed:
                raise TritonModelException(
                    "Unable to send response. Response sender has been closed."
                )
            self._deliver(response, flags)
            # After it: a response that could not be sent leaves the request open.
            self.closed = bool(flags & RESPONSE_FINAL)

    def close(self) -> bool:
        """Nothing more is sent. Whether something was owed."""
        with self._lock:
            was_open = not self.closed
            self.closed = True
        return was_open

    def fail(self, message: str, code: int = TritonError.INTERNAL) -> None:
        """Ends the request with an error, if it has not ended."""
        with self._lock:
            if not self.closed:
                self.closed = True
                self._deliver(InferenceResponse([], TritonError(message, code)), RESPONSE_FINAL)

    def __del__(self) -> None:
        if hasattr(self, "closed") and not self.closed:
            self.fail("the model dropped its response sender without sending a final response")


class InferenceResponseSender:
    """Answers one request, from any thread, also after `execute` has returned."""

    __slots__ = ("_answer",)

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def send(self, response: InferenceResponse | None = None, flags: int = 0) -> None:
        """One response; with TRITONSERVER_RESPONSE_COMPLETE_FINAL the last one, which may be None.

        TritonModelException after the last one, or when the response cannot be sent.
        """
        if flags not in (0, RESPONSE_FINAL):
            raise TritonModelException(
                f"response flags {flags} are not 0 or TRITONSERVER_RESPONSE_COMPLETE_FINAL"
            )
        if response is None:
            if not flags:
                raise TritonModelException("send() needs a response, or the final flag")
        elif not isinstance(response, InferenceResponse):
            raise TritonModelException(
                f"response is of type {type(response).__name__}, expected pb_utils."
                "InferenceResponse"
            )
        self._answer.send(response, flags)

    def is_cancelled(self) -> bool:
        """Whether the request's client went away or cancelled it."""
        if not self._answer.cancelled[0]:
            current.worker().channel.drain()
        return self._answer.cancelled[0]


_first_sender = threading.Lock()


class CollectedResponses:
    """The responses of a batch whose model is not decoupled and answers through senders.

    Costs next to nothing until the first sender is asked for.
    """

    __slots__ = ("_channel", "_index", "_lock", "_open", "_requests", "responses", "waiter")

    def __init__(self, channel: Channel, requests: List[InferenceRequest]) -> None:
        self._channel = channel
        self._requests = requests
        self.waiter: Waiter | None = None

    def sender(self, request: InferenceRequest) -> InferenceResponseSender:
        with _first_sender:
            if self.waiter is None:
                self._begin()
            if request._answer is None:
                deliver = functools.partial(self._collect, self._index[request._handle])
                request._answer = Answer(deliver, request._cancelled)
        return InferenceResponseSender(request._answer)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._index = {request._handle: at for at, request in enumerate(self._requests)}
        self._open = len(self._requests)
        self.responses: List[InferenceResponse | None] = [None] * self._open
        self.waiter = Waiter()

    def _collect(self, at: int, response: InferenceResponse | None, flags: int) -> None:
        with self._lock:
            if response is not None:
                if self.responses[at] is not None:
                    raise TritonModelException(
                        "a model that is not decoupled sends one response per request"
                    )
                self.responses[at] = response
            if flags & RESPONSE_FINAL:
                self._open -= 1
            ended = self._open == 0
        if ended and self.waiter is not None:
            self._channel.complete(self.waiter)
