"""How requests are answered: by what `execute` returns, or through response senders."""

from __future__ import annotations

import functools
import threading
from typing import Any, Callable, List, Sequence, Tuple
from weakref import ref

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

    __slots__ = ("__weakref__", "_deliver", "_lock", "cancelled", "closed")

    def __init__(self, deliver: Deliver, cancelled: List[bool]) -> None:
        self._deliver = deliver
        self._lock = threading.Lock()
        self.cancelled = cancelled
        self.closed = False

    def send(self, response: InferenceResponse | None, flags: int) -> None:
        current.worker()  # raises in a forked child, whose sending would reach nobody
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
        if hasattr(self, "closed") and not self.closed and current.is_worker():
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


class Batch:
    """Requests on their way through a model that is not decoupled, and what answers them: what it
    returns, or `responses`, which it sends. Senders are thread-safe; they cost next to nothing
    until the first one is asked for.

    Invariants: 1. only senders keep an Answer, so that the last one dropped ends its request;
    2. `waiter` is done when `execute` has returned and no request is open.
    """

    __slots__ = (
        "_answers",
        "_channel",
        "_index",
        "_open",
        "_returned",
        "answers",
        "execution",
        "requests",
        "responses",
        "waiter",
    )

    # By request, what is sent to the server (wire.pack_responses). Set before the end.
    answers: List[Tuple[Any, Sequence[str]]]
    responses: List[InferenceResponse | None]

    def __init__(self, channel: Channel, execution: int, requests: List[InferenceRequest]) -> None:
        self._channel = channel
        self.execution = execution
        self.requests = requests
        self.waiter: Waiter | None = None

    def sender(self, request: InferenceRequest) -> InferenceResponseSender:
        with _lock:
            if self.waiter is None:
                self._begin()
            at = self._index[id(request)]
            known = self._answers[at]
            answer = known() if known is not None else None
            if answer is None:
                deliver = functools.partial(self._collect, at)
                answer = Answer(deliver, request._cancelled)
                answer.closed = known is not None or self._returned  # it had one, or has ended
                self._answers[at] = ref(answer)
                self._open += not answer.closed
        return InferenceResponseSender(answer)

    def returned(self) -> None:
        """`execute` has returned: who has no sender gets none."""
        with _lock:
            self._returned = True
            self._complete()

    def let_go(self) -> None:
        """No one but the model refers to the requests and responses from here on."""
        self.answers.clear()
        del self.requests
        if self.waiter is not None:
            del self.responses

    def close(self) -> None:
        """Nothing more is sent. After the first sender() only."""
        for known in self._answers:
            answer = known() if known is not None else None
            if answer is not None:
                answer.close()

    def _begin(self) -> None:
        self._open = 0
        self._returned = False
        self._index = {id(request): at for at, request in enumerate(self.requests)}
        self._answers: List[Any] = [None] * len(self.requests)
        self.responses = [None] * len(self.requests)
        self.waiter = Waiter()

    def _collect(self, at: int, response: InferenceResponse | None, flags: int) -> None:
        if response is not None:
            response = snapshot(response)
        with _lock:
            if response is not None:
                if self.responses[at] is not None and not response.has_error():
                    raise TritonModelException(
                        "a model that is not decoupled sends one response per request"
                    )
                self.responses[at] = response
            if flags & RESPONSE_FINAL:
                self._open -= 1
                self._complete()

    def _complete(self) -> None:
        if self._returned and not self._open and self.waiter is not None:
            self._channel.complete(self.waiter)


# Of all batches: its use is rare. Reentrant, because a sender may be dropped by a
# garbage collection that starts while this is held.
_lock = threading.RLock()


def snapshot(response: InferenceResponse) -> InferenceResponse:
    """What the response is now, whatever the model does with its arrays."""
    copy = InferenceResponse(error=response._error)
    copy._parameters = response._parameters
    copy._outputs = [tensor._snapshot() for tensor in response._outputs]
    return copy
