"""The server process: start -> serve -> drain -> stop.

Models load on the control plane's threads while the front ends' modules are imported; nothing
listens before the models are loaded, as in Triton. SIGTERM and SIGINT drain; a second signal ends
the process at once.
"""

import os
import signal
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastserve import _core, log
from fastserve.control.assembly import ServingCore, build_core
from fastserve.errors import FastserveError
from fastserve.metrics import MetricsPage
from fastserve.options import Options
from fastserve.types import ModelState

if TYPE_CHECKING:
    import asyncio

_DRAIN_LOG_INTERVAL_S = 1.0
# What connections get to finish writing answers, once no request is in flight.
_CLOSE_GRACE_S = 2.0


@dataclass(frozen=True)
class Service:
    """A front end by its name in the log.

    It has `async start()`, `async stop(grace_s)` and `port`.
    """

    name: str
    address: str
    front_end: Any


class _Listener:
    """An aiohttp front end with the address it listens on."""

    def __init__(self, front_end: Any, address: str, port: int, reuse_port: bool) -> None:
        self._front_end = front_end
        self._where = (address, port, reuse_port)

    @property
    def port(self) -> int:
        return int(self._front_end.port)

    async def start(self) -> None:
        await self._front_end.start(*self._where)

    def begin_drain(self) -> None:
        """HTTP says `Connection: close` from now on; a front end without it has no such sign."""
        begin_drain = getattr(self._front_end, "begin_drain", None)
        if begin_drain is not None:
            begin_drain()

    async def stop(self, grace_s: float) -> None:
        await self._front_end.stop(grace_s)


class _MetricsListener(_Listener):
    """A scrape is short: it is not waited for."""

    async def stop(self, grace_s: float) -> None:  # noqa: ARG002  as of every listener
        await self._front_end.stop()


def run(options: Options) -> int:
    """Serves until a signal; returns the exit status."""
    try:
        configure_log(options)
        core = build_core(options)
    except FastserveError as error:
        log.error(f"error: creating server: {error}")
        return 1
    loads = core.start_loading(options)
    loop = _new_event_loop()
    server = Server(options, core, loads)
    try:
        status = loop.run_until_complete(server.run())
    finally:
        loop.close()
    if server.exit_timeout_expired:
        os._exit(status)  # an execution cannot be interrupted, and the engine would wait for it
    if core.lifecycle.busy():
        log.warning("Leaving while a model is being loaded")
        os._exit(status)  # a load cannot be interrupted
    core.close()
    return status


def configure_log(options: Options) -> None:
    """Applies the logging flags, then says which flags have no effect."""
    _core.set_log_settings(
        {
            "log_info": options.log_info,
            "log_warning": options.log_warning,
            "log_error": options.log_error,
            "log_verbose_level": options.log_verbose,
            "log_format": options.log_format,
        }
    )
    if options.log_file:
        _core.set_log_file(options.log_file)
    for text in options.warnings:
        log.warning(text)


def _new_event_loop() -> "asyncio.AbstractEventLoop":
    """uvloop's where it is installed."""
    try:
        import uvloop
    except ImportError:
        import asyncio

        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def _model_rows(core: ServingCore) -> list[tuple[str, str, str]]:
    """(name, version, status) of every version that was to be loaded."""
    rows = []
    for name, versions in sorted(core.lifecycle.snapshot().items()):
        for version, status in sorted(versions.items()):
            ready = status.state is ModelState.READY
            text = "READY" if ready else f"{status.state.value}: {status.reason}"
            rows.append((name, str(version or "-"), text))
    return rows


class Server:
    """One server over one core. Event loop thread only.

    `exit_timeout_expired` says, after run(), that requests were still running at the end.
    """

    def __init__(
        self, options: Options, core: ServingCore, loads: "dict[str, Future[None]]"
    ) -> None:
        self._options = options
        self._core = core
        self._loads = loads
        self._services: list[Service] = []
        self._signals = 0
        self.exit_timeout_expired = False

    async def run(self) -> int:
        """Start, serve, drain, stop; the exit status."""
        if not await self._start():
            await self._stop()
            return 1
        await self._serve()
        self.exit_timeout_expired = not await self._drain()
        await self._stop()
        return 1 if self.exit_timeout_expired else 0

    # --- start ---

    async def _start(self) -> bool:
        """False, with the reason logged, when the server cannot serve."""
        import asyncio

        self._stop_asked = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        log.verbose(f"Loading {len(self._loads)} models")
        services = self._make_services()
        loading = asyncio.create_task(asyncio.to_thread(self._core.wait_loaded, self._loads))
        stopping = asyncio.create_task(self._stop_asked.wait())
        await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not loading.done():
            log.info("Stopped while models were loading")
            os._exit(0)  # a load cannot be interrupted, and nothing was served yet
        stopping.cancel()
        failures = loading.result()
        self._log_models()
        if failures and self._options.exit_on_error:
            log.error("error: creating server: Internal - failed to load all models")
            return False
        return await self._open(services)

    def _make_services(self) -> list[Service]:
        """The services that are allowed, in the order they are started."""
        options, engine, control = self._options, self._core.engine, self._core.control
        services = []
        if options.allow_grpc:
            from fastserve.grpc import GrpcServer

            grpc = GrpcServer(engine, control, options)
            services.append(Service("GRPCInferenceService", options.grpc_address, grpc))
        if options.allow_http:
            from fastserve.http.server import HttpFrontEnd

            http = _Listener(
                HttpFrontEnd(engine, control, options),
                options.http_address,
                options.http_port,
                options.reuse_http_port,
            )
            services.append(Service("HTTPService", options.http_address, http))
        if options.allow_metrics:
            from fastserve.http.metrics import MetricsFrontEnd

            page = MetricsPage(engine.metrics_text, options)
            page.add_text(self._core.worker_metrics.text)
            control.set_metrics_text(page.text)
            address = options.metrics_listen_address
            metrics = _MetricsListener(
                MetricsFrontEnd(control), address, options.metrics_port, False
            )
            services.append(Service("Metrics Service", address, metrics))
        return services

    async def _open(self, services: list[Service]) -> bool:
        for service in services:
            try:
                await service.front_end.start()
            except (OSError, FastserveError) as error:
                log.error(f"failed to start {service.name} at {service.address}: {error}")
                return False
            self._services.append(service)
            log.info(f"Started {service.name} at {service.address}:{service.front_end.port}")
        return True

    def _log_models(self) -> None:
        """The table of models and their state, one row per line, as Triton prints it."""
        rows = [("Model", "Version", "Status"), *_model_rows(self._core)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"
        lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
        for line in (rule, lines[0], rule, *lines[1:], rule):
            log.info(line)

    # --- serve ---

    async def _serve(self) -> None:
        await self._stop_asked.wait()

    def _on_signal(self, number: int) -> None:
        self._signals += 1
        if self._signals > 1:
            log.error(f"Signal ({number}) received again, exiting at once")
            os._exit(1)
        log.info(f"Signal ({number}) received, stopping")
        self._stop_asked.set()

    # --- drain ---

    async def _drain(self) -> bool:
        """Refuses new requests and waits for running ones, for --exit-timeout-secs.

        True when all finished.
        """
        import asyncio

        engine = self._core.engine
        engine.stop_accepting()
        for service in self._services:
            if isinstance(service.front_end, _Listener):
                service.front_end.begin_drain()
        timeout_s = self._options.exit_timeout_secs
        remaining = float(timeout_s)
        log.info(
            f"Waiting for in-flight requests to complete: {engine.inflight_requests} in flight, "
            f"timeout {timeout_s} s"
        )
        while not await asyncio.to_thread(engine.wait_idle, min(_DRAIN_LOG_INTERVAL_S, remaining)):
            remaining -= _DRAIN_LOG_INTERVAL_S
            if remaining <= 0:
                log.error(
                    f"Exit timeout of {timeout_s} s expired, exiting: "
                    f"{engine.inflight_requests} requests in flight are cut off"
                )
                return False
            log.info(f"Timeout {remaining:.0f}: {engine.inflight_requests} in-flight requests")
        return True

    # --- stop ---

    async def _stop(self) -> None:
        """Closes listeners and connections; what they still write gets a moment."""
        for service in reversed(self._services):
            await service.front_end.stop(_CLOSE_GRACE_S)
        self._services.clear()
        log.info("Stopped")
