"""Runs batches: EXECUTE -> `execute` -> RESPONSES, or RESPONSE and EXECUTED."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import queue
import struct
import sys
import threading
import traceback
from collections import deque
from typing import Any, Deque, Dict, List, Sequence, Set, Tuple

from . import wire
from .calls import callers
from .channel import EXECUTED, RESPONSE, RESPONSES
from .errors import PASSING, NoRoom, TritonError, TritonModelException, describe
from .messages import RELEASE_RESCHEDULE, RESPONSE_FINAL, InferenceRequest, InferenceResponse
from .responses import Answer, Batch, InferenceResponseSender
from .worker_state import WorkerState

_EXECUTED = struct.Struct("<QB")
_RESCHEDULED = 2  # a flag of RESPONSE
_LOOK_EVERY = 16  # responses, for what came meanwhile

Answers = List[Tuple[Any, Sequence[str]]]


class Executor:
    """Executes batches on the main thread, in its event loop if `execute` is a coroutine function.

    An exception of the model fails the requests of its batch, also one that is no Exception
    (a cancellation, a panic of an extension); SystemExit and KeyboardInterrupt pass.
    """

    def __init__(
        self,
        state: WorkerState,
        model: Any,
        instance_name: str,
        *,
        decoupled: bool,
        empty_rows: bool,
    ) -> None:
        self._state = state
        self._channel = state.channel
        self._execute = model.execute
        self._instance_name = instance_name
        self._decoupled = decoupled
        self._sent = 0
        # Rows of a sequence batch without a request: the model sees them if it has the READY
        # control, which tells it so.
        self._empty_rows = empty_rows
        self._batches_with_gaps: Dict[int, List[int]] = {}  # handles of all rows
        self._tasks: Set[Any] = set()
        self._waiting: Deque[bytes] = deque()
        self._first: Any = None  # the coroutine that showed that there are any
        # Batches whose senders have answered after `execute` returned. Its put() may be called
        # within a garbage collection.
        self._late: queue.SimpleQueue[Batch] = queue.SimpleQueue()
        self._late_thread: threading.Thread | None = None
        self.is_async = inspect.iscoroutinefunction(model.execute)

    def run(self, body: bytes) -> None:
        """Executes a batch; async: starts to, when it is its turn."""
        if self.is_async:
            self._waiting.append(body)
            self._begin_next()
            return
        self._state.execution_starts()
        try:
            if self._decoupled:
                self._run_decoupled(body)
            else:
                self._run_plain(body)
        finally:
            self._state.execution_ends()

    async def drain(self) -> None:
        """Until no coroutine runs."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def begin(self) -> None:
        """The event loop runs."""
        if self._first is not None:
            self._add_task(self._first)
            self._first = None
        self._begin_next()

    def _begin_next(self) -> None:
        """As in Triton, coroutines of a model that is not decoupled run one by one."""
        while self._waiting and self._first is None and (self._decoupled or not self._tasks):
            self._add_task(self._run_async(self._waiting.popleft()))

    def _go_async(self, first: Any) -> None:
        """`execute` is no coroutine function, but has returned a coroutine."""
        self._first = first
        self.is_async = True

    def _add_task(self, coroutine: Any) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: Any) -> None:
        self._tasks.discard(task)
        self._channel.settle_releases()
        if task.cancelled():  # before it began: in it, a cancellation is an error of the batch
            print("the model cancelled a batch of requests before its start", file=sys.stderr)
            raise SystemExit(1)
        failure = task.exception()
        if failure is not None:
            # Not the model's, whose exceptions are answers: nobody would answer this batch.
            traceback.print_exception(type(failure), failure, failure.__traceback__)
            raise SystemExit(1)
        self._begin_next()

    # ---- models that return their responses

    def _run_plain(self, body: bytes) -> None:
        batch = self._start(body)
        try:
            # A list of its own, which the model may change.
            result = self._execute(list(batch.requests))
            if type(result) is not list and asyncio.iscoroutine(result):
                self._go_async(self._await_plain(batch, result))
                return
            if batch.has_senders:
                if not self._is_answered(batch, result):
                    return
                result = batch.responses
            batch.answers = self._answers(batch.requests, result)
        except PASSING:
            raise
        except BaseException as failure:
            batch.answers = self._failures(batch.requests, failure)
        result = None
        self._channel.post_answers(*self._end(batch))

    async def _run_async(self, body: bytes) -> None:
        if self._decoupled:
            await self._run_decoupled_async(body)
            return
        await self._await_plain(self._start(body))

    async def _await_plain(self, batch: Batch, coroutine: Any = None) -> None:
        """`coroutine`: what `execute` has returned, if it was called already."""
        try:
            result = coroutine or self._execute(list(batch.requests))
            if asyncio.iscoroutine(result):
                result = await result
            if batch.has_senders:
                if not self._is_answered(batch, result):
                    return
                result = batch.responses
            batch.answers = self._answers(batch.requests, result)
        except PASSING:
            raise
        except BaseException as failure:
            batch.answers = self._failures(batch.requests, failure)
        result = None
        self._channel.post_answers(*self._end(batch))
        self._channel.send_answers()

    def _is_answered(self, batch: Batch, result: Any) -> bool:
        """Whether `execute` has returned, or senders have sent, what answers the batch. If not, it
        is answered when the last sender has: the next batch need not wait for it.
        """
        if result is not None:
            _check_responses(batch.requests, result)
        if self._late_thread is None:
            self._late_thread = threading.Thread(
                target=self._end_late_ones, name="fastserve-late", daemon=True
            )
            self._late_thread.start()
        return batch.returned(result)

    def _end_late_ones(self) -> None:
        try:
            while True:
                self._end_late(self._late.get())
        except BaseException:
            traceback.print_exc()
            os._exit(1)  # nobody would answer those batches

    def _end_late(self, batch: Batch) -> None:
        try:
            batch.answers = self._answers(batch.requests, batch.responses)
        except Exception as failure:
            batch.answers = self._failures(batch.requests, failure)
        body, gone = self._end(batch)
        self._channel.send(RESPONSES, body)
        for block in gone:
            self._channel.released(block)
        self._channel.settle_releases()

    def _start(self, body: bytes) -> Batch:
        execution, rows = wire.read_batch(self._channel, body)
        requests = rows if self._empty_rows else self._without_gaps(execution, rows)
        batch = Batch(execution, requests, self._late.put)
        for request in requests:
            self._state.begin(request)
            request._sender = batch.sender
        self._work_for(requests)
        return batch

    def _work_for(self, requests: List[InferenceRequest]) -> None:
        """What this thread, or task, asks of the server from now on is for their sake."""
        handles = [request._handle for request in requests if request._handle]
        first = handles[0] if handles else 0
        self._state.newest = first, handles[-1] - first + 1 if handles else 0
        callers.set(self._state.newest)

    def _without_gaps(self, execution: int, rows: List[InferenceRequest]) -> List[InferenceRequest]:
        for row in rows:
            if not row._handle:
                self._batches_with_gaps[execution] = [row._handle for row in rows]
                return [row for row in rows if row._handle]
        return rows

    def _end(self, batch: Batch) -> Tuple[bytes, Sequence[Tuple[int, int, int]]]:
        """RESPONSES, and the blocks that go with it. Only `batch`, and perhaps the model, refers to
        requests and responses.
        """
        live = self._state.live
        for request in batch.requests:
            live.pop(request._handle, None)
            request._sender = None  # it refers to all requests of the batch
        del request
        if batch.has_senders:
            batch.close()
        if batch.execution in self._batches_with_gaps:
            handles = self._batches_with_gaps.pop(batch.execution)
            given = iter(batch.answers)
            batch.answers = [next(given) if handle else (wire.NOTHING, ()) for handle in handles]
        return wire.pack_responses(self._channel, batch.execution, batch.answers, batch.let_go)

    def _answers(self, requests: List[InferenceRequest], result: Any) -> Answers:
        _check_responses(requests, result)
        return [
            (response, request._requested)
            if type(response) is InferenceResponse
            else (self._no_response(request, response), ())
            for request, response in zip(requests, result)
        ]

    def _no_response(self, request: InferenceRequest, response: Any) -> Any:
        if isinstance(response, InferenceResponse):
            return response
        if response is not None:
            raise TritonModelException(
                f"execute returned a list with {type(response).__name__}, expected "
                "InferenceResponse"
            )
        if request._release_flags == RELEASE_RESCHEDULE:
            return wire.NOTHING
        return wire.error("the model returned None for a request that it does not reschedule")

    def _failures(self, requests: List[InferenceRequest], failure: BaseException) -> Answers:
        message = wire.error(self._text(failure))
        return [(message, ()) for _ in requests]

    def _text(self, failure: BaseException) -> str:
        return (
            f"Failed to process the request(s) for model '{self._instance_name}', message: "
            f"{describe(failure)}"
        )

    # ---- decoupled models

    def _run_decoupled(self, body: bytes) -> None:
        execution, requests, owed = self._start_decoupled(body)
        end = _EXECUTED.pack(execution, 0)
        try:
            result = self._execute(list(requests))
            if result is not None and asyncio.iscoroutine(result):
                self._go_async(self._await_decoupled(requests, owed, result))
            else:
                self._check_returned(result)
                # Before EXECUTED, with which the server takes them back.
                for handle in self._reschedule(requests):
                    self._state.backlog.await_sent(handle)
        except PASSING:
            raise
        except BaseException as failure:
            if not self._fail_held(requests, owed, self._text(failure)):
                end = _EXECUTED.pack(execution, 1) + wire.error(self._text(failure))[1:]
        self._channel.send(EXECUTED, end)

    def _fail_held(
        self, requests: List[InferenceRequest], owed: List[Answer], message: str
    ) -> bool:
        """When `execute` has failed. Responses that wait for their readers come before the error:
        then each request that is open gets its own.
        """
        still_open = [r for r, answer in zip(requests, owed) if answer.close()]
        backlog = self._state.backlog
        any_held = any(backlog.holds(request._handle) for request in requests)
        for request in still_open if any_held else ():
            error = InferenceResponse([], TritonError(message))
            self._deliver(request._handle, (), error, RESPONSE_FINAL)
        for request in () if any_held else requests:
            self._state.live.pop(request._handle, None)
            backlog.forget(request._handle)
        return any_held

    async def _run_decoupled_async(self, body: bytes) -> None:
        """The next batch may come while this one runs: EXECUTED is sent at its start."""
        execution, requests, owed = self._start_decoupled(body)
        self._channel.send(EXECUTED, _EXECUTED.pack(execution, 0))
        await self._await_decoupled(requests, owed)

    async def _await_decoupled(
        self, requests: List[InferenceRequest], owed: List[Answer], coroutine: Any = None
    ) -> None:
        try:
            result = coroutine or self._execute(list(requests))
            self._check_returned(await result if asyncio.iscoroutine(result) else result)
            self._reschedule(requests)
        except PASSING:
            raise
        except BaseException as failure:
            for answer in owed:
                answer.fail(self._text(failure))

    def _start_decoupled(self, body: bytes) -> Tuple[int, List[InferenceRequest], List[Answer]]:
        execution, rows = wire.read_batch(self._channel, body)
        requests = [row for row in rows if row._handle]  # nobody waits for the others
        owed = []
        for request in requests:
            self._state.begin(request)
            deliver = functools.partial(self._deliver, request._handle, request._requested)
            request._answer = Answer(deliver, request._cancelled)
            request._sender = _sender
            owed.append(request._answer)
        self._work_for(requests)
        return execution, requests, owed

    def _deliver(self, handle: int, names: Sequence[str], response: Any, flags: int) -> None:
        """One response of a decoupled request; its end when `flags` say so."""
        try:
            body = self._pack(handle, names, response, flags)
        except (TritonModelException, NoRoom):
            raise
        except Exception as failure:
            raise TritonModelException(f"the response cannot be sent: {failure}") from failure
        if flags & RESPONSE_FINAL:
            self._state.live.pop(handle, None)
        if body is not None:
            self._channel.send(RESPONSE, body)

    def _pack(self, handle: int, names: Sequence[str], response: Any, flags: int) -> Any:
        """RESPONSE, or None when the response waits for the request's reader."""
        self._sent += 1
        if self._sent % _LOOK_EVERY == 0:
            self._channel.drain()  # perhaps HOLD
        state = self._state
        if state.backlog.holds(handle):
            may_wait = state.may_wait()
            if state.backlog.add(handle, flags, response, names, may_wait=may_wait):
                return None
        return wire.pack_response(
            self._channel, handle, flags, wire.NOTHING if response is None else response, names
        )

    def _check_returned(self, result: Any) -> None:
        if result is not None:
            raise TritonModelException(
                f"execute of a decoupled model returned {type(result).__name__}, expected None: "
                "responses go through the response sender"
            )

    def _reschedule(self, requests: List[InferenceRequest]) -> List[int]:
        """The handles of those that are to come again."""
        handles = []
        for request in requests:
            if request._release_flags == RELEASE_RESCHEDULE and request._answer.close():
                self._deliver(request._handle, (), None, _RESCHEDULED)
                self._state.live.pop(request._handle, None)
                handles.append(request._handle)
        return handles


def _check_responses(requests: List[InferenceRequest], result: Any) -> None:
    if not isinstance(result, (list, tuple)):
        raise TritonModelException(
            f"execute returned {type(result).__name__}, expected a list of InferenceResponse"
        )
    if len(result) != len(requests):
        raise TritonModelException(
            f"execute returned {len(result)} responses for {len(requests)} requests"
        )


def _sender(request: InferenceRequest) -> InferenceResponseSender:
    return InferenceResponseSender(request._answer)
