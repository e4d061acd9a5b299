"""Runs load and unload operations: one at a time per model, in order; different models side by
side.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from fastserve.errors import UnavailableError

Operation = Callable[[], None]


def after_all(
    futures: "Sequence[Future[None]]", start: "Callable[[], Future[None]]"
) -> "Future[None]":
    """Calls start() once all futures are done, however they ended, on the thread that ended the
    last; the result ends as the future does that start() returned. Never blocks.
    """
    result: Future[None] = Future()
    lock = threading.Lock()
    left = len(futures)

    def copy(source: "Future[None]") -> None:
        if error := source.exception():
            result.set_exception(error)
        else:
            result.set_result(None)

    def go_on() -> None:
        try:
            start().add_done_callback(copy)
        except RuntimeError as error:  # the pool takes no more: the server stops
            result.set_exception(UnavailableError(f"the server is stopping: {error}"))

    def one_done(_: "Future[None]") -> None:
        nonlocal left
        with lock:
            left -= 1
            last = left == 0
        if last:
            go_on()

    for future in futures:
        future.add_done_callback(one_done)
    if not futures:
        go_on()
    return result


@dataclass
class _Queue:
    """What is to be done with one model, in order."""

    waiting: deque[tuple[Operation, Future[None]]] = field(default_factory=deque)
    has_thread: bool = False


class OperationQueue:
    """A queue per model over one thread pool. Thread safe. An operation never occupies a thread to
    wait for another one, unless the code of a model does so in its initialize: what the code of
    models asks for gets threads of its own, or the pool might hold nothing but those who wait.
    """

    def __init__(self, thread_count: int) -> None:
        self._pool = ThreadPoolExecutor(thread_count, thread_name_prefix="model-load")
        self._lock = threading.Lock()
        # Guarded by _lock. A name is a key from its first submit() to the end of its thread's work.
        self._queues: dict[str, _Queue] = {}
        self._own_threads: set[threading.Thread] = set()
        self._closed = False

    def submit(self, name: str, operation: Operation, *, from_model: bool = False) -> Future[None]:
        """Runs `operation` after those submitted for this name before. Never blocks. `from_model`:
        for the code of a model. RuntimeError after shutdown().
        """
        future: Future[None] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("no operation is taken any more")
            queue = self._queues.get(name)
            is_first = queue is None
            if queue is None:
                queue = self._queues[name] = _Queue()
            queue.waiting.append((operation, future))
            if from_model and not queue.has_thread:
                self._start_thread(name, queue)
            elif is_first:
                self._pool.submit(self._run, name, queue)
        return future

    def _start_thread(self, name: str, queue: _Queue) -> None:
        """Works on a queue without the pool, which finds nothing to do later. The lock is held."""
        queue.has_thread = True

        def run() -> None:
            self._work(name, queue)
            with self._lock:
                self._own_threads.discard(thread)

        thread = threading.Thread(target=run, name="model-load-own")
        self._own_threads.add(thread)
        thread.start()

    def _run(self, name: str, queue: _Queue) -> None:
        with self._lock:
            if queue.has_thread:
                return
            queue.has_thread = True
        self._work(name, queue)

    def _work(self, name: str, queue: _Queue) -> None:
        while True:
            with self._lock:
                if not queue.waiting:
                    del self._queues[name]
                    return
                operation, future = queue.waiting.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                operation()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(None)

    def pending(self, name: str) -> bool:
        """Whether an operation for this name runs or is queued."""
        with self._lock:
            return name in self._queues

    def busy(self) -> bool:
        """Whether an operation runs or is queued."""
        with self._lock:
            return bool(self._queues)

    def shutdown(self) -> None:
        """Waits for what runs and what is queued."""
        with self._lock:
            self._closed = True
        self._pool.shutdown(wait=True)
        while True:
            with self._lock:
                thread = next(iter(self._own_threads), None)
            if thread is None:
                return
            thread.join()
