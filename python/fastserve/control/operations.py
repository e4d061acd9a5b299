"""Runs load and unload operations: one at a time per model, in order; different models side by
side.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

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


class OperationQueue:
    """A queue per model over one thread pool. Thread safe. An operation never occupies a thread to
    wait for another one.
    """

    def __init__(self, thread_count: int) -> None:
        self._pool = ThreadPoolExecutor(thread_count, thread_name_prefix="model-load")
        self._lock = threading.Lock()
        # Guarded by _lock. A name is a key exactly while a thread works on its queue.
        self._queues: dict[str, deque[tuple[Operation, Future[None]]]] = {}

    def submit(self, name: str, operation: Operation) -> Future[None]:
        """Runs `operation` after those submitted for this name before. Never blocks."""
        future: Future[None] = Future()
        with self._lock:
            queue = self._queues.get(name)
            if queue is not None:
                queue.append((operation, future))
                return future
            self._queues[name] = deque([(operation, future)])
        self._pool.submit(self._run, name)
        return future

    def _run(self, name: str) -> None:
        while True:
            with self._lock:
                queue = self._queues[name]
                if not queue:
                    del self._queues[name]
                    return
                operation, future = queue.popleft()
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
        self._pool.shutdown(wait=True)
