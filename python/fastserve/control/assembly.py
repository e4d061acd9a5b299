"""Puts the core, the repository, the lifecycle and the control plane together, as the options
say.
"""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

import fastserve
from fastserve import _core
from fastserve.backends import worker_script
from fastserve.config.python_models import find_python_backend
from fastserve.config.resolve import ConfigSettings
from fastserve.control.lifecycle import Lifecycle
from fastserve.control.plane import ControlPlane, ControlSettings
from fastserve.control.rate_limit import rate_limit_resources
from fastserve.control.repository import ModelRepository
from fastserve.control.worker_calls import WorkerCalls
from fastserve.control.worker_metrics import WorkerMetrics
from fastserve.errors import FastserveError, InvalidArgumentError
from fastserve.host_policy import host_policies
from fastserve.metrics_config import core_metrics_options, metrics_settings
from fastserve.options import Options, backend_settings
from fastserve.response_cache import RedisCacheSettings, cache_settings, core_cache_options

T = TypeVar("T")


class BackendRegistry:
    """Registers a backend with the engine when the first model needs it. Thread safe."""

    def __init__(
        self, engine: Any, settings: dict[str, dict[str, str]], backend_directory: str
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._backend_directory = backend_directory
        self._calls: WorkerCalls | None = None
        self._serves_calls = False
        self._lock = threading.Lock()
        engine.register_identity_backend()
        engine.register_repeat_backend()

    def set_worker_calls(self, calls: WorkerCalls) -> None:
        """Who answers what Python models ask of the server; before the first is loaded."""
        self._calls = calls

    def require(self, name: str) -> None:
        """Blocks while the backend's library loads.

        Raises fastserve.errors when it cannot be loaded.
        """
        with self._lock:
            if self._engine.has_backend(name):
                return
            if name == "onnxruntime":
                self._register_onnxruntime()
            elif name == "python" or find_python_backend(name, self._backend_directory):
                self._register_python(name)

    def _register_python(self, name: str) -> None:
        """The backend "python", or one that is a model.py."""
        if self._calls is not None and not self._serves_calls:
            self._calls.start(self._engine.open_control_queue())
            self._serves_calls = True
        path = None if name == "python" else find_python_backend(name, self._backend_directory)
        self._engine.register_python_backend(
            sys.executable, str(worker_script()), name, "" if path is None else str(path)
        )

    def _register_onnxruntime(self) -> None:
        from fastserve.backends import find_onnxruntime_library

        settings = {**self._settings.get("", {}), **self._settings.get("onnxruntime", {})}
        self._engine.register_onnxruntime_backend(
            str(find_onnxruntime_library()),
            _thread_count(settings, "intra-op-thread-count"),
            _thread_count(settings, "inter-op-thread-count"),
            _switch(settings, "allow-spinning", default=True),
        )


def _thread_count(settings: dict[str, str], key: str) -> int:
    text = settings.get(key, "0")
    if not text.isdigit():
        raise InvalidArgumentError(
            f"--backend-config=onnxruntime,{key} must be a number, not '{text}'"
        )
    return int(text)


def _switch(settings: dict[str, str], key: str, *, default: bool) -> bool:
    values = {"1": True, "true": True, "on": True, "0": False, "false": False, "off": False}
    text = settings.get(key, str(default))
    if text.lower() not in values:
        raise InvalidArgumentError(
            f"--backend-config=onnxruntime,{key} must be 1 or 0, not '{text}'"
        )
    return values[text.lower()]


@dataclass
class ServingCore:
    """Everything but the front ends."""

    engine: Any
    repository: ModelRepository
    lifecycle: Lifecycle
    control: ControlPlane
    worker_calls: WorkerCalls
    worker_metrics: WorkerMetrics

    def start_loading(self, options: Options) -> "dict[str, Future[None]]":
        """Starts to load what is to be served from the start. Never blocks on a model."""
        if options.model_control_mode == "explicit" and options.load_model != ["*"]:
            names = options.load_model
        else:
            names = self.repository.list_models()
        return {name: self.lifecycle.load(name) for name in names}

    def wait_loaded(self, loads: "dict[str, Future[None]]") -> dict[str, str]:
        """Blocks until all are loaded or failed (logged); sets readiness; returns the reasons of
        failures by name.
        """
        failures = {}
        for name, load in loads.items():
            try:
                load.result()
            except FastserveError as error:
                failures[name] = str(error)
        self.control.update_readiness()
        return failures

    def close(self) -> None:
        """Ends the background work of the control plane; the engine ends with its last
        reference.
        """
        self.lifecycle.close()
        self.worker_calls.close()


def held_requests(variable: str) -> int:
    """Triton's test aids: batching waits until so many requests are queued
    (TRITONSERVER_DELAY_SCHEDULER), or wait for a sequence slot
    (TRITONSERVER_BACKLOG_DELAY_SCHEDULER).
    """
    text = os.environ.get(variable, "0")
    return int(text) if text.isdigit() else 0


def _read_flag(flag: str, read: Callable[[Options], T], options: Options) -> T:
    """What `read` makes of the options; a flag that it refuses is an InvalidArgumentError."""
    try:
        return read(options)
    except ValueError as error:
        raise InvalidArgumentError(f"--{flag}: {error}") from None


def build_core(options: Options) -> ServingCore:
    """Creates the engine and what controls it.

    InvalidArgumentError for a repository that does not exist, or for a wrong --cache-config,
    --metrics-config or --host-policy.
    """
    repository = ModelRepository(options.model_repository)
    cache = _read_flag("cache-config", cache_settings, options)
    metrics = _read_flag("metrics-config", metrics_settings, options)
    policies = _read_flag("host-policy", host_policies, options)
    engine = _core.Engine(
        options.max_inflight_bytes,
        core_metrics_options(metrics),
        rate_limit_resources(options),
        core_cache_options(cache),
        (
            held_requests("TRITONSERVER_DELAY_SCHEDULER"),
            held_requests("TRITONSERVER_BACKLOG_DELAY_SCHEDULER"),
        ),
    )
    settings = backend_settings(options)
    config_settings = ConfigSettings(
        options.auto_complete_config,
        options.model_config_name,
        settings,
        fingerprint_cached_models=isinstance(cache, RedisCacheSettings),
        host_policies=policies,
        backend_directory=options.backend_directory,
    )
    backends = BackendRegistry(engine, settings, options.backend_directory)
    lifecycle = Lifecycle(
        engine,
        repository,
        config_settings,
        backends.require,
        options.model_load_thread_count,
        options.model_load_retry_count,
    )
    control_settings = ControlSettings(
        server_name=options.id,
        server_version=fastserve.__version__,
        explicit=options.model_control_mode == "explicit",
        strict_readiness=options.strict_readiness,
        log_file=options.log_file,
    )
    control = ControlPlane(engine, repository, lifecycle, control_settings)
    worker_metrics = WorkerMetrics()
    worker_calls = WorkerCalls(control, worker_metrics)
    backends.set_worker_calls(worker_calls)
    return ServingCore(engine, repository, lifecycle, control, worker_calls, worker_metrics)
