"""The metrics page on its own port: GET /metrics in Prometheus text."""

import asyncio

from aiohttp import web

from fastserve.http.context import ControlPlane
from fastserve.http.responses import error_response

_PATHS = ("/metrics", "/metrics/")


class MetricsFrontEnd:
    """Serves control.metrics_text(), which is written off the event loop."""

    def __init__(self, control: ControlPlane) -> None:
        self._control = control
        self._runner: web.ServerRunner | None = None
        self.port = 0

    async def start(self, address: str, port: int, reuse_port: bool = False) -> None:
        """Raises OSError when the port is taken."""
        self._runner = web.ServerRunner(web.Server(self._respond, access_log=None))
        await self._runner.setup()
        await web.TCPSite(self._runner, address, port, reuse_port=reuse_port or None).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.raw_path.partition("?")[0] not in _PATHS:
            return error_response(404, "Not Found")
        if request.method != "GET":
            return error_response(405, "Method Not Allowed")
        text = await asyncio.to_thread(self._control.metrics_text)
        return web.Response(text=text, content_type="text/plain", charset="utf-8")
