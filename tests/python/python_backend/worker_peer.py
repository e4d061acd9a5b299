"""The server's side of docs/design/005-python-backend.md in Python: starts the real worker.py on
one end of a socketpair and speaks with it from the test.
"""

import array
import json
import mmap
import os
import socket
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
WORKER = ROOT / "python/fastserve/python_backend/worker.py"
TIMEOUT_S = 30.0

KINDS = [
    "SEGMENT",
    "DROP_SEGMENT",
    "RELEASE",
    "INITIALIZE",
    "INITIALIZED",
    "EXECUTE",
    "RESPONSES",
    "RESPONSE",
    "EXECUTED",
    "CANCEL",
    "FINALIZE",
    "CHECK_READY",
    "READY",
    "LOG",
    "LOG_SETTINGS",
    "BLS_REQUEST",
    "BLS_RESPONSE",
    "BLS_CANCEL",
    "CALL",
    "RETURN",
]
NUMBER = {name: number for number, name in enumerate(KINDS, start=1)}
NUMBER.update(HOLD=22, GO_ON=23)

TYPES = {
    1: np.bool_, 2: np.uint8, 3: np.uint16, 4: np.uint32, 5: np.uint64, 6: np.int8, 7: np.int16,
    8: np.int32, 9: np.int64, 10: np.float16, 11: np.float32, 12: np.float64, 13: np.object_,
    14: np.uint16,
}  # fmt: skip
NUMBER_OF = {np.dtype(kind): number for number, kind in TYPES.items() if number != 14}

NUMBER.update(BLS_TAKEN=24)
_NAME = {number: name for name, number in NUMBER.items()}
_HEADER = struct.Struct("<HHIQQ")
_MFD_SEALABLE = 3
_F_ADD_SEALS = 1033


def serialise(strings: Sequence[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(item)) + item for item in strings)


def deserialise(data: bytes) -> list[bytes]:
    strings = []
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at)
        strings.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    return strings


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<I", len(data)) + data


@dataclass
class Request:
    """One request; an input is an array, or (type number, shape, bytes)."""

    inputs: dict[str, Any] = field(default_factory=dict)
    id: str = ""
    flags: int = 0
    timeout: int = 0
    correlation: int | str = 0
    parameters: str = ""
    trace: str = ""
    requested: Sequence[str] = ()
    handle: int = 0


@dataclass
class Output:
    type: int
    array: Any
    segment: int
    offset: int


@dataclass
class Response:
    """One decoded response. kind: 0 nothing, 1 tensors, 2 error."""

    kind: int
    code: int = -1
    message: str = ""
    parameters: str = ""
    outputs: dict[str, Output] = field(default_factory=dict)
    handle: int = 0
    flags: int = 0

    def __getitem__(self, name: str) -> Any:
        assert self.kind == 1, self.message
        return self.outputs[name].array


@dataclass
class BlsRequest:
    call: int
    callers: list[int]  # handles
    decoupled: bool
    model: str
    version: int
    request: Request


class Cursor:
    """Reads a body from its start."""

    def __init__(self, body: bytes, at: int = 0) -> None:
        self.body = body
        self.at = at

    def take(self, layout: str) -> Any:
        fields = struct.unpack_from("<" + layout, self.body, self.at)
        self.at += struct.calcsize("<" + layout)
        return fields[0] if len(fields) == 1 else fields

    def text(self) -> str:
        length = self.take("I")
        self.at += length
        return self.body[self.at - length : self.at].decode()


class WorkerPeer:
    """A worker process and the server's end of its channel. Not thread-safe."""

    def __init__(self, python: str = sys.executable, environment: dict[str, str] | None = None):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(TIMEOUT_S)
        self.socket = ours
        self.process = subprocess.Popen(
            [python, str(WORKER), str(theirs.fileno()), str(os.getpid())],
            pass_fds=[theirs.fileno()],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
        )
        theirs.close()
        self.segments: dict[int, mmap.mmap] = {}  # the worker's
        self.lent: dict[int, mmap.mmap] = {}  # ours, one block each
        self.released: set[int] = set()
        self.packets: deque[tuple[str, bytes]] = deque()
        self.log: list[tuple[int, str]] = []
        self.answers = b""  # what is left of RESPONSES
        self.answered: dict[int, list[Response]] = {}  # by execution, read before asked for
        self._numbers = iter(range(1, 1 << 31))

    # ---- packets

    def send(self, kind: str, body: bytes = b"", descriptor: int | None = None) -> None:
        rights = []
        if descriptor is not None:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
        if len(body) <= 65536:
            header = _HEADER.pack(NUMBER[kind], 0, 0, 0, len(body))
            self.socket.sendmsg([header, body], rights)
        else:
            segment = self.lend(body)
            self.socket.send(_HEADER.pack(NUMBER[kind], 1, segment, 0, len(body)))

    def receive(self, kind: str) -> bytes:
        """The body of the next packet of that kind; others stay for later calls."""
        for at, (name, body) in enumerate(self.packets):
            if name == kind:
                del self.packets[at]
                return body
        while True:
            name, body = self._next()
            if name == kind:
                return body
            self.packets.append((name, body))

    def _next(self) -> tuple[str, bytes]:
        while True:
            data, ancillary, _, _ = self.socket.recvmsg(1 << 17, socket.CMSG_SPACE(4))
            assert data, "the worker ended: " + self.stderr()
            kind, flags, segment, offset, length = _HEADER.unpack_from(data)
            body = data[_HEADER.size :]
            if flags & 1:
                body = self.segments[segment][offset : offset + length]
                self.release(segment, offset)
            name = _NAME[kind]
            if not self._bookkeeping(name, body, ancillary):
                return name, body

    def _bookkeeping(self, name: str, body: bytes, ancillary: Any) -> bool:
        if name == "SEGMENT":
            identifier, size = struct.unpack("<IQ", body)
            assert identifier >> 31, "segments of a worker have bit 31 set"
            descriptor = array.array("i", ancillary[0][2])[0]
            self.segments[identifier] = mmap.mmap(descriptor, size)
            os.close(descriptor)
        elif name == "DROP_SEGMENT":
            self.segments.pop(struct.unpack("<I", body)[0]).close()
        elif name == "RELEASE":
            for identifier, _ in struct.iter_unpack("<IQ", body):
                assert identifier not in self.released, "released twice"
                self.released.add(identifier)
        elif name == "LOG":
            self.log.append((body[0], body[5:].decode()))
        else:
            return False
        return True

    def lend(self, data: bytes) -> int:
        """A new segment with one block that holds `data`, as the worker sees it."""
        identifier = next(self._numbers)
        descriptor = os.memfd_create("test", _MFD_SEALABLE)
        os.ftruncate(descriptor, max(len(data), 4096))
        memory = mmap.mmap(descriptor, max(len(data), 4096))
        memory[: len(data)] = data
        self.lent[identifier] = memory
        self.send("SEGMENT", struct.pack("<IQ", identifier, len(memory)), descriptor)
        os.close(descriptor)
        return identifier

    def release(self, segment: int, offset: int) -> None:
        self.send("RELEASE", struct.pack("<IQ", segment, offset))

    # ---- life

    def initialize(self, model: Path, config: dict[str, Any] | None = None, **more: Any) -> Any:
        """Sends INITIALIZE for MODEL/1/model.py and returns INITIALIZED."""
        settings = {
            "model_path": str(model / "1/model.py"),
            "model_name": model.name,
            "model_version": "1",
            "model_repository": str(model),
            "version_directory": str(model / "1"),
            "model_config": json.dumps({"name": model.name, **(config or {})}),
            "instance_name": f"{model.name}_0_0",
            "instance_kind": "CPU",
            "device_id": "0",
            "auto_complete": False,
            "python_path": [],
            "memory_limit_bytes": 0,
            "log_level": 2,
            "server": {"pid": os.getpid()},
        }
        self.send("INITIALIZE", json.dumps({**settings, **more}).encode())
        cursor = Cursor(self.receive("INITIALIZED"))
        has_is_ready = bool(cursor.take("B"))
        error = cursor.text()
        completed = cursor.text()
        assert cursor.at == len(cursor.body)
        return {
            "has_is_ready": has_is_ready,
            "error": error or None,
            "config": json.loads(completed) if completed else None,
        }

    def finalize(self) -> int:
        self.send("FINALIZE")
        return self.process.wait(TIMEOUT_S)

    def stderr(self) -> str:
        """What the worker wrote, when it has ended."""
        self.process.wait(TIMEOUT_S)
        return self.process.stderr.read().decode()

    def stdout(self) -> str:
        self.process.wait(TIMEOUT_S)
        return self.process.stdout.read().decode()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()
        self.socket.close()

    # ---- executions

    def start(self, requests: Sequence[Request]) -> int:
        """Sends EXECUTE and returns the execution's number; fills in the handles."""
        data = bytearray()
        bodies = [self._pack_request(request, data) for request in requests]
        segment = self.lend(bytes(data)) if data else 0
        execution = next(self._numbers)
        head = struct.pack("<QIIQQ", execution, len(requests), segment, 0, len(data))
        self.send("EXECUTE", head + b"".join(bodies))
        self.input_segment = segment
        return execution

    def execute(self, *requests: Request) -> list[Response]:
        """Sends a batch and returns the answers of RESPONSES, arrays copied."""
        execution = self.start(requests)
        return self.responses(execution)

    def responses(self, execution: int) -> list[Response]:
        while execution not in self.answered:
            cursor = Cursor(self.answers or self.receive("RESPONSES"))
            number, count, segment, offset, length = cursor.take("QIIQQ")
            self.answered[number] = [self._read_response(cursor) for _ in range(count)]
            self.answers = cursor.body[cursor.at :]
            if length:
                self.release(segment, offset)
        return self.answered.pop(execution)

    def response(self) -> Response:
        """The next RESPONSE."""
        cursor = Cursor(self.receive("RESPONSE"))
        handle, flags, segment, offset, length = cursor.take("QIIQQ")
        response = self._read_response(cursor)
        response.handle, response.flags = handle, flags
        if length:
            self.release(segment, offset)
        return response

    def executed(self) -> tuple[int, str]:
        """EXECUTED: (error code or -1, message)."""
        cursor = Cursor(self.receive("EXECUTED"))
        _, failed = cursor.take("QB")
        return (cursor.take("B"), cursor.text()) if failed else (-1, "")

    def cancel(self, *handles: int) -> None:
        self.send("CANCEL", struct.pack(f"<{len(handles)}Q", *handles))

    def hold(self, handle: int) -> None:
        self.send("HOLD", struct.pack("<Q", handle))

    def go_on(self, handle: int) -> None:
        self.send("GO_ON", struct.pack("<Q", handle))

    # ---- calls of the worker

    def bls_request(self) -> BlsRequest:
        """The next BLS_REQUEST, its inputs copied."""
        cursor = Cursor(self.receive("BLS_REQUEST"))
        call, first, count, decoupled = cursor.take("QQIB")
        model, version = cursor.text(), cursor.take("q")
        segment, offset, length = cursor.take("IQQ")
        request = self._read_request(cursor, segment, offset)
        assert cursor.at == len(cursor.body)
        if length:
            self.release(segment, offset)
        callers = list(range(first, first + count))
        return BlsRequest(call, callers, bool(decoupled), model, version, request)

    def bls_respond(
        self, call: int, outputs: dict[str, Any] | None = None, final: bool = True, error: str = ""
    ) -> None:
        """A response with outputs; with `error` code 4 and that text; with neither, empty."""
        head = struct.pack("<QB", call, final)
        if error:
            self.send("BLS_RESPONSE", head + bytes(20) + b"\2\4" + text(error))
            return
        if outputs is None:
            self.send("BLS_RESPONSE", head + bytes(20) + b"\0")
            return
        data = bytearray()
        places = [(name, value, self._place(value, data)) for name, value in outputs.items()]
        segment = self.lend(bytes(data))
        body = b"\1" + text("") + struct.pack("<H", len(places))
        for name, value, (offset, size) in places:
            kind, shape, _ = _contents(value)
            body += text(name) + struct.pack(f"<BB{len(shape)}q", kind, len(shape), *shape)
            body += struct.pack("<IQQ", segment, offset, size)
        self.send("BLS_RESPONSE", head + struct.pack("<IQQ", segment, 0, len(data)) + body)

    def call(self) -> tuple[int, dict[str, Any]]:
        """The next CALL: its number and its JSON."""
        body = self.receive("CALL")
        return struct.unpack_from("<Q", body)[0], json.loads(body[8:])

    def answer_call(self, number: int, value: Any = None, error: Any = None) -> None:
        result = json.dumps({"error": error, "value": value}).encode()
        self.send("RETURN", struct.pack("<Q", number) + result)

    def check_ready(self) -> tuple[bool, str]:
        self.send("CHECK_READY", struct.pack("<Q", 77))
        cursor = Cursor(self.receive("READY"))
        token, ready = cursor.take("QB")
        assert token == 77
        return bool(ready), cursor.text()

    # ---- bytes

    def _place(self, value: Any, data: bytearray) -> tuple[int, int]:
        data.extend(bytes(-len(data) % 64))
        contents = _contents(value)[2]
        offset = len(data)
        data.extend(contents)
        return offset, len(contents)

    def _pack_request(self, request: Request, data: bytearray) -> bytes:
        request.handle = request.handle or next(self._numbers)
        numeric = isinstance(request.correlation, int)
        parts = [
            struct.pack("<QIQB", request.handle, request.flags, request.timeout, not numeric),
            struct.pack("<Q", request.correlation) if numeric else text(request.correlation),
            text(request.id) + text(request.parameters) + text(request.trace),
            struct.pack("<H", len(request.requested)),
            *map(text, request.requested),
            struct.pack("<H", len(request.inputs)),
        ]
        for name, value in request.inputs.items():
            kind, shape, _ = _contents(value)
            place = self._place(value, data)
            parts.append(text(name))
            parts.append(struct.pack(f"<BB{len(shape)}qQQ", kind, len(shape), *shape, *place))
        return b"".join(parts)

    def _read_request(self, cursor: Cursor, segment: int, start: int) -> Request:
        handle, flags, timeout, kind = cursor.take("QIQB")
        correlation = cursor.text() if kind else cursor.take("Q")
        request = Request({}, cursor.text(), flags, timeout, correlation, cursor.text())
        request.trace, request.handle = cursor.text(), handle
        request.requested = [cursor.text() for _ in range(cursor.take("H"))]
        for _ in range(cursor.take("H")):
            name = cursor.text()
            number, dimensions = cursor.take("BB")
            shape = [cursor.take("q") for _ in range(dimensions)]
            offset, size = cursor.take("QQ")
            request.inputs[name] = self._array(number, shape, segment, start + offset, size)
        return request

    def _read_response(self, cursor: Cursor) -> Response:
        response = Response(cursor.take("B"))
        if response.kind == 2:
            response.code, response.message = cursor.take("B"), cursor.text()
        if response.kind == 1:
            response.parameters = cursor.text()
            for _ in range(cursor.take("H")):
                name = cursor.text()
                number, dimensions = cursor.take("BB")
                shape = [cursor.take("q") for _ in range(dimensions)]
                place = cursor.take("IQQ")
                array = self._array(number, shape, *place)
                response.outputs[name] = Output(number, array, *place[:2])
        return response

    def _array(self, number: int, shape: Any, segment: int, offset: int, size: int) -> Any:
        memory: Any = self.segments.get(segment) or self.lent.get(segment) or b""
        data = memory[offset : offset + size]
        assert len(data) == size
        if number == NUMBER_OF[np.dtype(object)]:
            array = np.empty(int(np.prod(shape)), object)
            array[:] = deserialise(data)
            return array.reshape(shape)
        return np.frombuffer(data, TYPES[number]).reshape(shape)


def _contents(value: Any) -> tuple[int, Any, bytes]:
    """Type number, shape and bytes of an input."""
    if isinstance(value, tuple):
        return value
    if value.dtype == object:
        return NUMBER_OF[np.dtype(object)], value.shape, serialise(value.ravel().tolist())
    return NUMBER_OF[value.dtype], value.shape, value.tobytes()
