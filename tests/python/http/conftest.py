"""A front end over the real engine with identity models, under asyncio and uvloop."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from fastserve._core import Engine
from fastserve.errors import NotFoundError
from fastserve.http import HttpFrontEnd, HttpTimeouts
from fastserve.options import Options

from tests.python.repeat import repeat_spec

uvloop = pytest.importorskip("uvloop")


def pytest_asyncio_loop_factories() -> dict[str, Any]:
    """pytest-asyncio runs each test of this folder once under either loop."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def identity_model(
    name: str, data_type: str = "FP32", delay_ms: int = 0, max_batch_size: int = 8
) -> dict[str, Any]:
    tensor = {"type": data_type, "dims": [-1]}
    return {
        "name": name,
        "version": 1,
        "backend": "identity",
        "platform": "identity",
        "max_batch_size": max_batch_size,
        "inputs": [{"name": "INPUT0", **tensor}],
        "outputs": [{"name": "OUTPUT0", **tensor}],
        "instance_groups": [{"name": "cpu", "count": 1}],
        "parameters": {"execute_delay_ms": str(delay_ms)},
    }


class TestControl:
    """The operations of the control plane that the engine alone can answer."""

    __test__ = False

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.calls: list[tuple[str, Any]] = []
        self.settings: dict[str, Any] = {"log_info": True}

    def is_live(self) -> bool:
        return bool(self.engine.live)

    def is_ready(self) -> bool:
        return bool(self.engine.ready)

    async def check_model_ready(self, name: str, version: str) -> bool:
        return bool(self.engine.model_state(name, int(version or -1)) == "READY")

    def metrics_text(self) -> str:
        return "# HELP nothing\n"

    async def server_metadata(self) -> dict[str, Any]:
        return {"name": "triton", "version": "0", "extensions": []}

    async def model_metadata(self, name: str, version: str) -> dict[str, Any]:
        if name == "unknown":
            raise NotFoundError(f"Request for unknown model: '{name}' is not found")
        return {"name": name, "versions": [version]}

    async def model_config(self, name: str, version: str) -> dict[str, Any]:
        return {"name": name, "version": version}

    async def model_statistics(self, name: str, version: str) -> str:
        return str(self.engine.statistics_json(name, int(version or -1)))

    async def repository_index(self, ready_only: bool) -> list[dict[str, Any]]:
        return [{"name": "identity", "state": "READY", "ready_only": ready_only}]

    async def load_model(self, name: str, parameters: dict[str, Any]) -> None:
        self.calls.append(("load " + name, parameters))

    async def unload_model(self, name: str, parameters: dict[str, Any]) -> None:
        self.calls.append(("unload " + name, parameters))

    async def log_settings(self) -> dict[str, Any]:
        return self.settings

    async def update_log_settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        self.settings.update(settings)
        return self.settings


@pytest.fixture
def engine() -> Any:
    engine = Engine()
    engine.register_identity_backend()
    engine.register_repeat_backend()
    for spec in (
        identity_model("identity"),
        identity_model("slow", delay_ms=300),
        identity_model("text", data_type="BYTES"),
        identity_model("bytes", data_type="UINT8", max_batch_size=0),
        repeat_spec(),
    ):
        engine.publish(spec["name"], [engine.load_model(spec)])
    engine.set_ready(True)
    return engine


class ControlledFrontEnd(HttpFrontEnd):
    """Makes what it controls, and shows it."""

    def __init__(self, engine: Engine, options: Options, timeouts: HttpTimeouts) -> None:
        self.control = TestControl(engine)
        super().__init__(engine, self.control, options, timeouts)


StartFrontEnd = Callable[..., Any]


@pytest_asyncio.fixture
async def start(engine: Engine) -> AsyncIterator[StartFrontEnd]:
    """start(max_input=..., idle_s=...) -> a listening HttpFrontEnd with `.control`."""
    running: list[ControlledFrontEnd] = []

    async def start_front_end(max_input: int = 1 << 26, **timeouts: float) -> ControlledFrontEnd:
        options = Options(http_max_input_size=max_input)
        front_end = ControlledFrontEnd(engine, options, HttpTimeouts(**timeouts))
        await front_end.start("127.0.0.1", 0)
        running.append(front_end)
        return front_end

    yield start_front_end
    for front_end in running:
        await front_end.stop(5.0)


class Answer:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def json(self) -> Any:
        return json.loads(self.body)


class RawClient:
    """A client that sends what it is told, byte by byte if need be."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @staticmethod
    async def connect(port: int) -> "RawClient":
        return RawClient(*await asyncio.open_connection("127.0.0.1", port))

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    async def answer(self, head_request: bool = False) -> Answer:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = [line.partition(":") for line in head[1:] if line]
        headers = {name.lower(): value.strip() for name, _, value in fields}
        size = 0 if head_request else int(headers.get("content-length", "0"))
        return Answer(int(head[0].split()[1]), headers, await self.reader.readexactly(size))

    async def at_end(self) -> bool:
        """True when the server closes, having sent nothing more."""
        return await self.reader.read(1) == b""

    def close(self) -> None:
        self.writer.close()


@pytest_asyncio.fixture
async def connect() -> AsyncIterator[Callable[[HttpFrontEnd], Any]]:
    clients: list[RawClient] = []

    async def connect_to(front_end: HttpFrontEnd) -> RawClient:
        client = await RawClient.connect(front_end.port)
        clients.append(client)
        return client

    yield connect_to
    for client in clients:
        client.close()


def infer_json(values: list[float], request_id: str = "") -> bytes:
    tensor = {"name": "INPUT0", "datatype": "FP32", "shape": [1, len(values)], "data": values}
    return json.dumps({"id": request_id, "inputs": [tensor]}).encode()


def post(path: str, body: bytes, *fields: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: test", *fields, f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def get(path: str, *fields: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: test", *fields]).encode() + b"\r\n\r\n"


def chunked(path: str, body: bytes, chunk_size: int, *fields: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: test", *fields, "Transfer-Encoding: chunked"]
    text = "\r\n".join(lines).encode() + b"\r\n\r\n"
    for begin in range(0, len(body), chunk_size):
        chunk = body[begin : begin + chunk_size]
        text += b"%x\r\n%s\r\n" % (len(chunk), chunk)
    return text + b"0\r\n\r\n"
