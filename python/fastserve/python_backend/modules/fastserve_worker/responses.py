"""How requests are answered: by what `execute` returns, or through response senders."""

from __future__ import annotations

import functools
import threading
from typing import Any, Callable, List, Sequence, Tuple
from weakref import ref

from . import current
from .errors import NoRoom, TritonError, TritonModelException
from .messages import (
    RELEASE_RESCHEDULE,
    RESPONSE_FINAL,
    InferenceRequest,
    InferenceResponse,
)

# (response or None, flags); raises when the response cannot be sent, NoRoom when it can be later.
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
        while True:
            try:
                self._send_now(response, flags)
                return
            except NoRoom as full:
                wait = full.wait
            # Without the lock: an error, or the end, must not wait behind this response.
            wait()

    def _send_now(self, response: InferenceResponse | None, flags: int) -> None:
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
    returns, or sends. Senders are thread-safe; they cost next to nothing until the first one is
    asked for.

    Invariants: 1. only senders keep an Answer, so that the last one dropped ends its request;
    2. `end` is called at most once, when the last request has ended and returned() was False.
    """

    __slots__ = (
        "_answers",
        "_end",
        "_index",
        "_open",
        "_returned",
        "answers",
        "execution",
        "has_senders",
        "requests",
        "responses",
    )

    # By request, what is sent to the server (wire.pack_responses). Set before the end.
    answers: List[Tuple[Any, Sequence[str]]]
    # With senders: by request, what was sent or returned.
    responses: List[Any]

    def __init__(
        self, execution: int, requests: List[InferenceRequest], end: Callable[[Batch], None]
    ) -> None:
        """`end` is called by any thread, perhaps within a garbage collection."""
        self.execution = execution
        self.requests = requests
        self.has_senders = False
        self._end = end

    def sender(self, request: InferenceRequest) -> InferenceResponseSender:
        with _lock:
            if not self.has_senders:
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

    def returned(self, given: Sequence[Any] | None) -> bool:
        """`execute` has returned: who has no sender gets none, and what it answers or reschedules
        needs none.
        Whether nothing is open; else `end` is called when that is so. With senders only.
        """
        with _lock:
            self._returned = True
            self._open += 1  # `end` is not called meanwhile
        results = given if given is not None else [None] * len(self.requests)
        closed = {
            at: self._close(at)
            for at, (one, request) in enumerate(zip(results, self.requests))
            if one is not None or request._release_flags == RELEASE_RESCHEDULE
        }
        with _lock:
            for at, was_open in closed.items():
                sent = self.responses[at]
                # A final response ends a request, whatever its flag says.
                if results[at] is not None or was_open or (sent and sent.has_error()):
                    self.responses[at] = results[at]
            self._open -= sum(closed.values()) + 1
            return not self._open

    def let_go(self) -> None:
        """No one but the model refers to the requests and responses from here on."""
        self.answers.clear()
        del self.requests
        if self.has_senders:
            del self.responses

    def close(self) -> None:
        """Nothing more is sent. With senders only."""
        for at in range(len(self._answers)):
            self._close(at)

    def _close(self, at: int) -> bool:
        """Whether that request was open. Not with `_lock`, which comes after an Answer's."""
        known = self._answers[at]
        answer = known() if known is not None else None
        return answer is not None and answer.close()

    def _begin(self) -> None:
        self._open = 0
        self._returned = False
        self._index = {id(request): at for at, request in enumerate(self.requests)}
        self._answers: List[Any] = [None] * len(self.requests)
        self.responses = [None] * len(self.requests)
        self.has_senders = True

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
            if not flags & RESPONSE_FINAL:
                return
            self._open -= 1
            is_last = self._returned and not self._open
        if is_last:
            self._end(self)


# Of all batches: its use is rare. Reentrant, because a sender may be dropped by a
# garbage collection that starts while this is held.
_lock = threading.RLock()


def snapshot(response: InferenceResponse) -> InferenceResponse:
    """What the response is now, whatever the model does with its arrays."""
    copy = InferenceResponse(error=response._error)
    copy._parameters = response._parameters
    copy._outputs = [tensor._snapshot() for tensor in response._outputs]
    return copy
