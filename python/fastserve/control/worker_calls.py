"""What the code of Python models asks of the server besides inference: loading, unloading and the
readiness of models, and metrics of its own (docs/python_backend.md).
"""

import functools
import json
import os
import select
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from fastserve import log
from fastserve.control.load_chain import LoadChain
from fastserve.control.plane import ControlPlane
from fastserve.control.worker_metrics import WorkerMetrics
from fastserve.errors import FastserveError, InvalidArgumentError
from fastserve.types import parse_version

# The numbers of docs/design/005-python-backend.md.
_INTERNAL = 1
_CODES = {
    "UnknownError": 0,
    "InternalError": _INTERNAL,
    "NotFoundError": 2,
    "InvalidArgumentError": 3,
    "UnavailableError": 4,
    "UnsupportedError": 5,
    "AlreadyExistsError": 6,
    "CancelledError": 7,
}
# Called once, from any thread, with the JSON of {"error": [code, text] or null, "value": ...}.
Reply = Callable[[str], None]


class WorkerCalls:
    """Answers the calls of worker processes, on a thread of its own once it was started. Thread
    safe.
    """

    def __init__(self, control: ControlPlane, metrics: WorkerMetrics) -> None:
        self._control = control
        self._metrics = metrics
        self._chain = LoadChain()
        self._thread: threading.Thread | None = None
        self._closing = -1

    def start(self, queue: Any) -> None:
        """Answers what comes to the core's queue, until close()."""
        self._closing = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._serve, args=(queue,), name="worker-calls")
        self._thread.start()

    def close(self) -> None:
        """Ends the thread, if there is one."""
        if self._thread is not None:
            os.eventfd_write(self._closing, 1)
            self._thread.join()
            os.close(self._closing)
            self._thread = None

    def _serve(self, queue: Any) -> None:
        waiting = select.poll()
        waiting.register(queue.fd, select.POLLIN)
        waiting.register(self._closing, select.POLLIN)
        while not any(fd == self._closing for fd, _ in waiting.poll()):
            try:
                calls = queue.take()
            except Exception as error:  # our own bug; the calls of other models go on
                log.error(f"calls of models' workers were lost: {error!r}")
                continue
            for number, call in calls:
                self.answer(call, functools.partial(queue.answer, number))

    def answer(self, call: str, reply: Reply) -> None:
        """`call`: the JSON of {"call": {"method": name, "args": {...}}, "worker": number}, from the
        code of a model, with "loading": its name before it is initialized; or of {"ended": true,
        "worker": number}. Never blocks.
        """
        try:
            parsed = json.loads(call)
            worker = parsed["worker"]
            if "ended" in parsed:
                self._metrics.forget(worker)
                reply(_value(None))
                return
            method, args = parsed["call"]["method"], parsed["call"]["args"]
            if method in ("load_model", "unload_model"):
                started = self._start(method, args, str(parsed.get("loading", "")))
                started.add_done_callback(lambda done: reply(_outcome(done)))
                return
            answer = _value(self._answer_now(worker, method, args))
        except FastserveError as error:
            answer = _error(error)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            answer = _error(InvalidArgumentError(f"malformed call of a model's worker: {error!r}"))
        except Exception as error:  # our own bug; the worker waits for an answer
            log.error(f"a call of a model's worker failed: {error!r}")
            answer = _error(error)
        reply(answer)

    def _start(self, method: str, args: dict[str, Any], loading: str) -> "Future[None]":
        """`loading`: the model whose load waits for this one; "": none does."""
        target = str(args["model_name"])
        if not loading:
            return self._start_for(method, args, frozenset())
        waiting = self._chain.enter(loading, target)
        try:
            started = self._start_for(method, args, waiting)
        except BaseException:
            self._chain.leave(loading, target)
            raise
        # Before the model knows: what it asks for next does not find this one in its way.
        started.add_done_callback(lambda _: self._chain.leave(loading, target))
        return started

    def _start_for(
        self, method: str, args: dict[str, Any], waiting: frozenset[str]
    ) -> "Future[None]":
        if method == "unload_model":
            parameters = {"unload_dependents": bool(args.get("unload_dependents", False))}
            return self._control.start_unload(args["model_name"], parameters, from_model=True)
        parameters = {"config": args["config"]} if args.get("config") else {}
        return self._control.start_load(
            args["model_name"], {**parameters, **(args.get("files") or {})}, waiting
        )

    def _answer_now(self, worker: int, method: str, args: dict[str, Any]) -> Any:
        if method == "is_model_ready":
            version = str(args.get("model_version", ""))
            parse_version(version)
            return self._control.model_ready(args["model_name"], version)
        return self._metrics.call(worker, method, args)


def _outcome(done: "Future[None]") -> str:
    error = done.exception()
    return _value(None) if error is None else _error(error)


def _value(value: Any) -> str:
    return json.dumps({"error": None, "value": value})


def _error(error: BaseException) -> str:
    code = _CODES.get(type(error).__name__, _INTERNAL)
    return json.dumps({"error": [code, str(error)], "value": None})
