"""What the code of Python models asks of the server besides inference: loading, unloading and the
readiness of models, and metrics of its own (docs/python_backend.md).
"""

import json
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from fastserve import log
from fastserve.control.plane import ControlPlane
from fastserve.control.worker_metrics import WorkerMetrics
from fastserve.errors import FastserveError, InvalidArgumentError
from fastserve.types import parse_version

# Called once, from any thread, with the JSON of {"error": [code, text] or null, "value": ...}.
Reply = Callable[[str], None]


class WorkerCalls:
    """Answers the calls of worker processes. Thread safe; never blocks."""

    def __init__(self, control: ControlPlane, metrics: WorkerMetrics) -> None:
        self._control = control
        self._metrics = metrics

    def answer(self, worker: int, call: str, reply: Reply) -> None:
        """`call`: the JSON of {"method": name, "args": {...}}, from the code of a model that runs
        in `worker`.
        """
        try:
            parsed = json.loads(call)
            method, args = parsed["method"], parsed["args"]
            if method in ("load_model", "unload_model"):
                self._start(method, args).add_done_callback(lambda done: reply(_outcome(done)))
                return
            value = self._value(worker, method, args)
        except FastserveError as error:
            reply(_error(error))
        except (KeyError, TypeError, ValueError) as error:
            reply(_error(InvalidArgumentError(f"malformed call of a model's worker: {error!r}")))
        except Exception as error:  # our own bug; the worker waits for an answer
            log.error(f"a call of a model's worker failed: {error!r}")
            reply(_error(error))
        else:
            reply(json.dumps({"error": None, "value": value}))

    def forget(self, worker: int) -> None:
        """A worker has ended; its number is not used again."""
        self._metrics.forget(worker)

    def _start(self, method: str, args: dict[str, Any]) -> "Future[None]":
        if method == "unload_model":
            parameters = {"unload_dependents": bool(args.get("unload_dependents", False))}
            return self._control.start_unload(args["model_name"], parameters)
        parameters = {"config": args["config"]} if args.get("config") else {}
        return self._control.start_load(
            args["model_name"], {**parameters, **(args.get("files") or {})}
        )

    def _value(self, worker: int, method: str, args: dict[str, Any]) -> Any:
        if method == "is_model_ready":
            version = str(args.get("model_version", ""))
            parse_version(version)
            return self._control.model_ready(args["model_name"], version)
        return self._metrics.call(worker, method, args)


def _outcome(done: "Future[None]") -> str:
    error = done.exception()
    return json.dumps({"error": None, "value": None}) if error is None else _error(error)


def _error(error: BaseException) -> str:
    code = getattr(error, "triton_code", "INTERNAL")
    return json.dumps({"error": [code, str(error)], "value": None})
