"""The thread that answers the calls of all models' workers."""

import json
import os
import queue
from unittest.mock import sentinel

import pytest
from fastserve.control.worker_calls import WorkerCalls
from fastserve.control.worker_metrics import WorkerMetrics


class Calls:
    """The core's queue: `put` adds a call, or the exception that taking it raises."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.taken = os.eventfd(0, os.EFD_CLOEXEC)
        self.waiting: queue.Queue = queue.Queue()
        self.answers: queue.Queue = queue.Queue()

    def put(self, call: object) -> None:
        self.waiting.put(call)
        os.eventfd_write(self.fd, 1)

    def take(self) -> list[tuple[int, str]]:
        os.eventfd_read(self.fd)
        call = self.waiting.get_nowait()
        os.eventfd_write(self.taken, 1)
        if isinstance(call, Exception):
            raise call
        return [(1, call)]

    def answer(self, number: int, text: str) -> None:
        self.answers.put((number, json.loads(text)))


@pytest.fixture
def calls():
    answering = WorkerCalls(sentinel.control, WorkerMetrics())
    calls = Calls()
    answering.start(calls)
    yield calls
    answering.close()
    os.close(calls.fd)
    os.close(calls.taken)


def test_calls_that_cannot_be_taken_do_not_end_the_thread(calls):
    calls.put(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"))
    os.eventfd_read(calls.taken)
    calls.put('{"ended": true, "worker": 1}')
    assert calls.answers.get(timeout=30) == (1, {"error": None, "value": None})
