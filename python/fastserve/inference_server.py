"""fastserve.InferenceServer: the server's engine inside a Python process, without sockets.

    with fastserve.InferenceServer("model_repository") as server:
        result = server.infer("resnet", {"INPUT": images})
        scores = result["OUTPUT"]

Inputs are numpy arrays or anything with `__dlpack__`; contiguous ones are used where they lie, so
they must not be changed until the call has ended. Outputs are read-only arrays over the engine's
own memory.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from fastserve import _core
from fastserve.control.assembly import build_core
from fastserve.errors import InternalError
from fastserve.flags import check_value
from fastserve.metrics import MetricsPage
from fastserve.options import Options
from fastserve.tensors import from_core, to_core
from fastserve.types import parse_version

T = TypeVar("T")

_REQUEST_FIELDS = {"priority", "timeout_us", "sequence_id", "sequence_start", "sequence_end"}


@dataclass(frozen=True)
class InferenceResult(Mapping[str, Any]):
    """One response: a mapping from output names to arrays."""

    model_name: str
    model_version: int
    request_id: str
    parameters: dict[str, Any]
    outputs: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.outputs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.outputs)

    def __len__(self) -> int:
        return len(self.outputs)


def _result(response: Any) -> InferenceResult:
    if isinstance(response, Exception):
        raise response
    name, version, request_id, parameters, outputs = response
    arrays = {output: from_core(data_type, array) for output, data_type, array in outputs}
    return InferenceResult(name, version, request_id, parameters, arrays)


class _LoopCompletions:
    """The answers of one event loop's requests: an eventfd wakes the loop.

    That loop's thread only.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._completions = _core.InferCompletions()
        self._waiting: dict[int, asyncio.Future[InferenceResult]] = {}
        self._streams: dict[int, asyncio.Event] = {}
        self._tokens = itertools.count(1)
        loop.add_reader(self._completions.fileno(), self._take)

    def submit(self, engine: Any, request: Any) -> "asyncio.Future[InferenceResult]":
        token = next(self._tokens)
        future: asyncio.Future[InferenceResult] = self._loop.create_future()
        self._waiting[token] = future
        engine.submit(request, self._completions, token)
        return future

    async def stream(self, engine: Any, request: Any) -> AsyncIterator[InferenceResult]:
        """The responses as they come. Those that nobody takes hold the model back."""
        token = next(self._tokens)
        arrived = self._streams[token] = asyncio.Event()
        responses = engine.submit_stream(request, self._completions, token)
        try:
            ended = False
            while not ended:
                await arrived.wait()
                arrived.clear()
                batch, ended = responses.take()
                for response in batch:
                    yield _result(response)
        finally:
            responses.cancel()
            del self._streams[token]

    def _take(self) -> None:
        for token, response, final in self._completions.take():
            if token not in self._waiting:  # a stream, or one that nobody reads any more
                if token in self._streams:
                    self._streams[token].set()
                continue
            future = self._waiting.pop(token) if final else self._waiting[token]
            if future.done():
                continue
            try:
                future.set_result(_result(response))
            except Exception as error:
                future.set_exception(error)

    def close(self) -> None:
        if not self._loop.is_closed():
            self._loop.remove_reader(self._completions.fileno())


class InferenceServer:
    """Serves a model repository in this process.

    Thread safe, except that start and close are called once.

    Keyword arguments are the server's flags with underscores (`model_control_mode="explicit"`).
    Raises the exceptions of fastserve.errors; a model that fails to load raises in start() unless
    exit_on_error=False.
    """

    def __init__(self, model_repository: str | Path | Sequence[str | Path], **flags: Any) -> None:
        if isinstance(model_repository, str | Path):
            model_repository = [model_repository]
        _check_flags(flags)
        self._options = Options(model_repository=[str(path) for path in model_repository], **flags)
        self._core = build_core(self._options)
        self._metrics = MetricsPage(self._core.engine.metrics_text, self._options)
        self._metrics.add_text(self._core.worker_metrics.text)
        self._core.control.set_metrics_text(self._metrics.text)
        self._loops: dict[asyncio.AbstractEventLoop, _LoopCompletions] = {}

    # --- start and stop ---

    def start(self) -> "InferenceServer":
        """Loads the models. Blocks."""
        failures = self._core.wait_loaded(self._core.start_loading(self._options))
        if failures and self._options.exit_on_error:
            self.close()
            raise InternalError("failed to load all models: " + "; ".join(failures.values()))
        return self

    def close(self) -> None:
        """Refuses new requests, waits for running ones (exit_timeout_secs) and ends the engine."""
        self._core.engine.stop_accepting()
        self._core.engine.wait_idle(float(self._options.exit_timeout_secs))
        for completions in self._loops.values():
            completions.close()
        self._loops.clear()
        self._core.close()

    def __enter__(self) -> "InferenceServer":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- inference ---

    def infer(self, model_name: str, inputs: Mapping[str, Any], **request: Any) -> InferenceResult:
        """Runs one request and waits for its answer without the GIL.

        Keywords: model_version, outputs (names, default all), request_id, priority, timeout_us,
        sequence_id (a number or a string), sequence_start, sequence_end, parameters.
        """
        responses = self._core.engine.infer(_make_request(model_name, inputs, **request))
        return _result(responses[-1])

    async def infer_async(
        self, model_name: str, inputs: Mapping[str, Any], **request: Any
    ) -> InferenceResult:
        """infer() for asyncio. Cancelling the task cancels the request."""
        core_request = _make_request(model_name, inputs, **request)
        future = self._completions().submit(self._core.engine, core_request)
        try:
            return await future
        except asyncio.CancelledError:
            core_request.cancel()
            raise

    def infer_stream(
        self, model_name: str, inputs: Mapping[str, Any], **request: Any
    ) -> Iterator[InferenceResult]:
        """The responses of a decoupled model, or the one of any other; keywords as infer().

        The request begins with the first step of the iterator. An error ends it. Closing the
        iterator cancels the request; not going on holds the model back.
        """
        responses = self._core.engine.infer_stream(_make_request(model_name, inputs, **request))
        try:
            while (response := responses.next()) is not None:
                yield _result(response)
        finally:
            responses.cancel()

    def infer_stream_async(
        self, model_name: str, inputs: Mapping[str, Any], **request: Any
    ) -> AsyncIterator[InferenceResult]:
        """infer_stream() for asyncio."""
        core_request = _make_request(model_name, inputs, **request)
        return self._completions().stream(self._core.engine, core_request)

    def _completions(self) -> _LoopCompletions:
        """Those of the running event loop. A loop that was closed gives its eventfd back here."""
        loop = asyncio.get_running_loop()
        if loop not in self._loops:
            for closed in [known for known in list(self._loops) if known.is_closed()]:
                self._loops.pop(closed, None)
            self._loops[loop] = _LoopCompletions(loop)
        return self._loops[loop]

    # --- control, blocking; `control` has the same as async methods ---

    @property
    def control(self) -> Any:
        """The ControlPlane: async methods for metadata, configuration, statistics, load and
        unload.
        """
        return self._core.control

    @property
    def engine(self) -> Any:
        """The core engine."""
        return self._core.engine

    def is_ready(self) -> bool:
        return self._core.control.is_ready()

    def model_ready(self, name: str, version: str = "") -> bool:
        return self._core.control.model_ready(name, version)

    def model_metadata(self, name: str, version: str = "") -> dict[str, Any]:
        return _wait(self._core.control.model_metadata(name, version))

    def model_config(self, name: str, version: str = "") -> dict[str, Any]:
        return _wait(self._core.control.model_config(name, version))

    def model_statistics(self, name: str = "", version: str = "") -> str:
        return _wait(self._core.control.model_statistics(name, version))

    def repository_index(self, ready_only: bool = False) -> list[dict[str, str]]:
        return _wait(self._core.control.repository_index(ready_only))

    def load_model(self, name: str) -> None:
        _wait(self._core.control.load_model(name))

    def unload_model(self, name: str) -> None:
        _wait(self._core.control.unload_model(name))

    def metrics_text(self) -> str:
        return self._core.control.metrics_text()

    def add_collector(self, collector: Any) -> None:
        """Adds a prometheus-client collector of this program to the metrics text."""
        self._metrics.add_collector(collector)


def _check_flags(flags: dict[str, Any]) -> None:
    """TypeError for a name that is no flag, ValueError for a value the flag does not take."""
    known = {item.name: item for item in fields(Options) if "flag" in item.metadata}
    for name, value in flags.items():
        if name not in known:
            raise TypeError(f"unknown flag {name!r}; see python -m fastserve --help")
        try:
            check_value(known[name], value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None


def _wait(operation: Coroutine[Any, Any, T]) -> T:
    """Runs a control-plane operation from blocking code, inside or outside a running event loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, operation).result()


def _make_request(
    model_name: str,
    inputs: Mapping[str, Any],
    *,
    model_version: str | int = "",
    outputs: Sequence[str] = (),
    **details: Any,
) -> Any:
    """A core request. `details`: what InferenceServer.infer takes besides."""
    request = _core.InferRequest(model_name, parse_version(str(model_version)))
    request.id = details.pop("request_id", "")
    for field in _REQUEST_FIELDS & details.keys():
        setattr(request, field, details.pop(field))
    for key, value in details.pop("parameters", {}).items():
        request.set_parameter(key, value)
    if details:
        raise TypeError(f"unknown argument {next(iter(details))!r} of infer")
    for name, value in inputs.items():
        data_type, shape, data = to_core(np.asarray(value) if np.isscalar(value) else value)
        request.add_input(name, data_type, shape, data)
    for name in outputs:
        request.add_output(name)
    return request
