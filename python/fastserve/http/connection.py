"""One HTTP connection: the core's state machine as an asyncio protocol, and the transport that
aiohttp sees for the requests that are delegated to it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from fastserve._core import HttpConnection

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastserve.http.server import HttpFrontEnd


class Connection(HttpConnection, asyncio.BufferedProtocol):
    """The methods that run per request (get_buffer, buffer_updated, ...) are the core's own."""

    __slots__ = ("front_end", "transport")

    front_end: HttpFrontEnd
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.front_end.connection_made(self)
        self.open(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.front_end.connection_lost(self)

    def make_delegate(self) -> asyncio.Protocol:
        """aiohttp's protocol object for this connection; called by the core when it needs one."""
        protocol: asyncio.Protocol = self.front_end.web_server()
        protocol.connection_made(DelegateTransport(self, self.transport))
        return protocol


class DelegateTransport(asyncio.Transport):
    """Writes to the real transport; tells the core about flow control and the end of responses."""

    def __init__(self, connection: Connection, transport: asyncio.Transport) -> None:
        super().__init__()
        self._connection = connection
        self._transport = transport

    def response_ended(self, keep_alive: bool) -> None:
        """Not part of asyncio's interface: the request's response has been written."""
        self._connection.delegate_ended(keep_alive)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        self._connection.delegate_closed()

    def abort(self) -> None:
        self._transport.abort()

    def pause_reading(self) -> None:
        self._connection.delegate_paused(True)

    def resume_reading(self) -> None:
        self._connection.delegate_paused(False)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._transport.write(data)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self._transport.writelines(list_of_data)

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size()
