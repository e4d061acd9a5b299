"""The HTTP server: listens, owns the connections, ticks their timeouts, drains them."""

import asyncio
from typing import Any

from aiohttp import web

from fastserve._core import Engine, HttpLoop
from fastserve.errors import FastserveError
from fastserve.http import (
    generate,
    health,
    infer,
    logging_settings,
    models,
    repository,
    shared_memory,
    unsupported,
)
from fastserve.http.connection import Connection, DelegateTransport
from fastserve.http.context import Context, ControlPlane
from fastserve.http.responses import error_response, failure_response
from fastserve.http.router import Router
from fastserve.http.timeouts import HttpTimeouts
from fastserve.options import Options

_BACKLOG = 2048
# The core has limits of its own that are stricter, and times connections itself.
_AIOHTTP_SETTINGS: dict[str, Any] = {
    "access_log": None,
    "auto_decompress": False,
    "handler_cancellation": True,
    "keepalive_timeout": 10 * 365 * 86400.0,
    "lingering_time": 5.0,
    "max_field_size": 16384,
    "max_line_size": 16384,
    "tcp_keepalive": False,
}

ROUTER = Router(
    health.ROUTES
    + infer.ROUTES
    + generate.ROUTES
    + models.ROUTES
    + repository.ROUTES
    + logging_settings.ROUTES
    + shared_memory.ROUTES
    + unsupported.ROUTES
)


class HttpFrontEnd:
    """One listener on one event loop. Used from that loop only."""

    def __init__(
        self,
        engine: Engine,
        control: ControlPlane,
        options: Options,
        timeouts: HttpTimeouts | None = None,
    ) -> None:
        self._engine = engine
        self._control = control
        self._options = options
        self._timeouts = timeouts or HttpTimeouts()
        self._connections: set[Connection] = set()
        self._all_closed = asyncio.Event()
        self._tick_handle: asyncio.TimerHandle | None = None
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self, address: str, port: int, reuse_port: bool = False) -> None:
        """Listens. Raises OSError when the port is taken."""
        loop = asyncio.get_running_loop()
        self._core_loop = self._make_core_loop(loop)
        self._context = Context(self._control, self._core_loop, self._options.http_max_input_size)
        self.web_server = web.Server(self._handle, **_AIOHTTP_SETTINGS)
        try:
            self._server = await loop.create_server(
                self._make_connection,
                address,
                port,
                reuse_port=reuse_port or None,
                backlog=_BACKLOG,
            )
        except BaseException:
            self._close_core_loop()
            raise
        self.port = self._server.sockets[0].getsockname()[1]

    def begin_drain(self) -> None:
        """From now on every response ends its connection. New requests are still answered: the
        engine refuses them."""
        self._core_loop.start_drain()

    async def stop(self, grace_s: float) -> None:
        """Takes no more connections; lets requests in progress end, at most `grace_s` seconds."""
        if self._server is None:
            return
        self._server.close()
        self.begin_drain()
        for connection in list(self._connections):
            connection.drain()
        await self._wait_until_closed(grace_s)
        for connection in list(self._connections):
            connection.transport.abort()
        await self._wait_until_closed(1.0)
        self._close_core_loop()
        self._server = None

    def busy_connections(self) -> int:
        """Connections with a request in progress."""
        return sum(not connection.idle() for connection in self._connections)

    def connection_count(self) -> int:
        return len(self._connections)

    def connection_made(self, connection: Connection) -> None:
        self._connections.add(connection)
        self._all_closed.clear()
        if self._tick_handle is None:
            self._schedule_tick()

    def connection_lost(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._all_closed.set()

    def _make_core_loop(self, loop: asyncio.AbstractEventLoop) -> HttpLoop:
        times = self._timeouts
        core_loop = HttpLoop(
            self._engine,
            loop.call_soon,
            max_input_bytes=self._options.http_max_input_size,
            idle_timeout_s=times.idle_s,
            head_timeout_s=times.head_s,
            body_timeout_s=times.body_s,
            stall_timeout_s=times.stall_s,
            linger_s=times.linger_s,
        )
        core_loop.set_run(core_loop.run)
        loop.add_reader(core_loop.fd, core_loop.wake)
        return core_loop

    def _close_core_loop(self) -> None:
        asyncio.get_running_loop().remove_reader(self._core_loop.fd)
        self._core_loop.close()
        if self._tick_handle is not None:
            self._tick_handle.cancel()
            self._tick_handle = None

    def _make_connection(self) -> Connection:
        connection = Connection(self._core_loop)
        connection.front_end = self
        return connection

    async def _wait_until_closed(self, timeout_s: float) -> None:
        if not self._connections:
            return
        try:
            await asyncio.wait_for(self._all_closed.wait(), timeout_s)
        except TimeoutError:
            pass
        except asyncio.TimeoutError:  # its own class before Python 3.11
            pass

    def _schedule_tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._tick_handle = loop.call_later(self._timeouts.check_interval_s, self._tick)

    def _tick(self) -> None:
        self._tick_handle = None
        for connection in list(self._connections):
            connection.tick()
        if self._connections:  # an idle server sleeps
            self._schedule_tick()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Called by aiohttp. Writes the response itself, to tell the core when it has ended."""
        response = await self._respond(request)
        if self._core_loop.draining:
            response.force_close()
        await response.prepare(request)
        await response.write_eof()
        transport = request.transport
        if isinstance(transport, DelegateTransport):
            transport.response_ended(bool(response.keep_alive))
        return response

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await ROUTER.respond(self._context, request)
        except FastserveError as error:
            return failure_response(error)
        except web.HTTPException as error:
            return error_response(error.status, error.reason)
        except (OSError, asyncio.CancelledError):  # the connection is gone
            raise
        except web.RequestPayloadError as error:
            response = error_response(400, f"malformed request body: {error}")
            response.force_close()
            return response
        except Exception as error:
            return error_response(500, f"internal error: {error}")
