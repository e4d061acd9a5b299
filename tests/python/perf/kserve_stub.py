"""A small HTTP server that speaks enough KServe v2 for the load generator's own tests.

It is scripted to fail in ways in which the real server does not.
"""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[bytes], tuple[int, bytes]]

METADATA = {
    "name": "m",
    "inputs": [{"name": "A", "datatype": "FP32", "shape": [-1, 4]}],
    "outputs": [{"name": "B", "datatype": "FP32", "shape": [-1, 4]}],
}


class KserveStub:
    """Serves one model 'm' on a free port until closed; `answer` makes the inference answers."""

    def __init__(self, answer: Answer) -> None:
        stub = self
        self.bodies: list[bytes] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                pages: dict[str, Any] = {
                    "/v2/models/m": METADATA,
                    "/v2/models/m/config": {"max_batch_size": 8},
                }
                page = pages.get(self.path)
                found = page is not None
                body = json.dumps(page if found else {"error": "unknown model"}).encode()
                self._reply(200 if found else 404, body)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                stub.bodies.append(body)
                self._reply(*answer(body))

            def _reply(self, status: int, body: bytes) -> None:
                head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n"
                self.wfile.write(head.encode() + body)

            def log_message(self, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                pass  # a load generator that stops closes connections

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
