"""The native gRPC server as a service of the event loop, which answers its administrative calls."""

import asyncio
from typing import Any

from fastserve import _core
from fastserve.control.plane import ControlPlane
from fastserve.grpc.service import AdminService
from fastserve.options import Options


class GrpcServer:
    """Serves between start() and stop(). Event loop thread only."""

    def __init__(self, engine: Any, control: ControlPlane, options: Options) -> None:
        self._engine = engine
        self._service = AdminService(control)
        self._options = server_options(options)
        self._server: Any = None
        self._admin_fd = -1
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The bound port."""
        return int(self._server.port)

    async def start(self) -> None:
        """Listens. UnavailableError when the port is in use."""
        self._server = _core.GrpcServer(self._engine, self._options)
        self._admin_fd = self._server.admin_fd
        asyncio.get_running_loop().add_reader(self._admin_fd, self._on_admin_calls)

    async def stop(self, grace_s: float) -> None:
        """Sends every client away (GOAWAY), waits up to `grace_s` for running calls, closes."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.stop_accepting()
        await asyncio.to_thread(server.wait_drained, grace_s)
        asyncio.get_running_loop().remove_reader(self._admin_fd)
        for task in self._tasks:
            task.cancel()
        await asyncio.to_thread(server.close)

    def _on_admin_calls(self) -> None:
        server = self._server
        if server is None:
            return
        for call_id, method, request in server.take_admin_calls():
            task = asyncio.get_running_loop().create_task(
                self._answer(server, call_id, method, request)
            )
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, server: Any, call_id: int, method: str, request: bytes) -> None:
        code, message, response = await self._service.answer(method, request)
        server.answer_admin_call(call_id, code, message, response)


def server_options(options: Options) -> dict[str, Any]:
    """The flags as _core.GrpcServer takes them."""
    return {
        "address": options.grpc_address,
        "port": options.grpc_port,
        "thread_count": options.grpc_infer_thread_count,
        "reuse_port": options.reuse_grpc_port,
        "keepalive_time_ms": options.grpc_keepalive_time,
        "keepalive_timeout_ms": options.grpc_keepalive_timeout,
        "keepalive_permit_without_calls": options.grpc_keepalive_permit_without_calls,
        "max_pings_without_data": options.grpc_http2_max_pings_without_data,
        "min_recv_ping_interval_without_data_ms": (
            options.grpc_http2_min_recv_ping_interval_without_data
        ),
        "max_ping_strikes": options.grpc_http2_max_ping_strikes,
        "max_connection_age_ms": options.grpc_max_connection_age,
        "max_connection_age_grace_ms": options.grpc_max_connection_age_grace,
        "response_compression": options.grpc_infer_response_compression_level,
    }
