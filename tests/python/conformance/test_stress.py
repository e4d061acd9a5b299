"""100,000 requests from 200 clients, of which some disconnect, cancel and time out.

Every other answer is right (compared with onnxruntime), the counters add up, and memory is flat.
"""

import asyncio
import json
import random
import time
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
import onnxruntime
import pytest
import tritonclient.grpc.aio as grpcclient
from tritonclient.utils import InferenceServerException

from tests.models.catalog import model_bytes
from tests.models.repository import write_repository
from tests.python.conftest import ServerProcess
from tests.python.server.test_process import call

HTTP_CLIENTS, HTTP_REQUESTS = 160, 550
GRPC_CLIENTS, GRPC_REQUESTS = 40, 300
DISTINCT = 64


@dataclass
class Outcome:
    """What the clients saw."""

    right: int = 0
    wrong: list = field(default_factory=list)
    abandoned: int = 0  # sent, but left before the answer: the server may or may not have run it


class Samples:
    """Inputs and what onnxruntime answers to them."""

    def __init__(self) -> None:
        generator = np.random.default_rng(5)
        self.inputs = generator.standard_normal((DISTINCT, 1, 16)).astype(np.float32)
        session = onnxruntime.InferenceSession(model_bytes("tiny"))
        self.outputs = [session.run(None, {"INPUT0": value})[0] for value in self.inputs]
        self.requests = [self._http_request(value) for value in self.inputs]

    @staticmethod
    def _http_request(value: np.ndarray) -> bytes:
        tensor = {
            "name": "INPUT0",
            "shape": [1, 16],
            "datatype": "FP32",
            "parameters": {"binary_data_size": 64},
        }
        header = json.dumps(
            {"inputs": [tensor], "parameters": {"binary_data_output": True}}
        ).encode()
        return (
            b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: x\r\n"
            + f"Inference-Header-Content-Length: {len(header)}\r\n".encode()
            + f"Content-Length: {len(header) + 64}\r\n\r\n".encode()
            + header
            + value.tobytes()
        )


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0])
    return int(head.split(b" ", 2)[1]), await reader.readexactly(length)


async def http_client(url: str, samples: Samples, seed: int, outcome: Outcome) -> None:
    host, port = url.split(":")
    chance = random.Random(seed)
    writer = None
    for _ in range(HTTP_REQUESTS):
        if writer is None:
            reader, writer = await asyncio.open_connection(host, int(port))
        number = chance.randrange(DISTINCT)
        request = samples.requests[number]
        fate = chance.random()
        if fate < 0.02:  # leaves in the middle of its request, or before the answer
            cut = chance.randrange(1, len(request) + 1)
            writer.write(request[:cut])
            outcome.abandoned += cut == len(request)
            writer.transport.abort()
            writer = None
            continue
        if fate < 0.03:
            writer.write(request)
            await writer.drain()
            outcome.abandoned += 1
            writer.transport.abort()
            writer = None
            continue
        writer.write(request)
        status, body = await read_answer(reader)
        if status == 200 and body.endswith(samples.outputs[number].tobytes()):
            outcome.right += 1
        else:
            outcome.wrong.append((status, body[:200]))
    if writer is not None:
        writer.close()


async def grpc_client(url: str, samples: Samples, seed: int, outcome: Outcome) -> None:
    chance = random.Random(seed)
    async with grpcclient.InferenceServerClient(url) as client:
        for _ in range(GRPC_REQUESTS):
            number = chance.randrange(DISTINCT)
            tensor = grpcclient.InferInput("INPUT0", [1, 16], "FP32")
            tensor.set_data_from_numpy(samples.inputs[number])
            fate = chance.random()
            call = asyncio.ensure_future(
                client.infer("tiny", [tensor], client_timeout=1e-4 if fate < 0.02 else None)
            )
            if 0.02 <= fate < 0.04:
                await asyncio.sleep(0)
                call.cancel()
            try:
                result = await call
            except (
                asyncio.CancelledError,
                grpc.aio.AioRpcError,
                InferenceServerException,
            ) as error:
                if fate >= 0.04:
                    outcome.wrong.append(error)
                outcome.abandoned += 1
                continue
            if np.array_equal(result.as_numpy("OUTPUT0"), samples.outputs[number]):
                outcome.right += 1
            else:
                outcome.wrong.append(number)


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


async def run_clients(server: ServerProcess, samples: Samples, share: float) -> Outcome:
    """`share` of all clients, all of them at once."""
    outcome = Outcome()
    http_clients, grpc_clients = int(HTTP_CLIENTS * share), int(GRPC_CLIENTS * share)
    await asyncio.gather(
        *(http_client(server.url("http"), samples, n, outcome) for n in range(http_clients)),
        *(grpc_client(server.url("grpc"), samples, n, outcome) for n in range(grpc_clients)),
    )
    return outcome


def statistics(server: ServerProcess) -> dict:
    (entry,) = json.loads(call(server, "GET", "/v2/models/tiny/stats")[2])["model_stats"]
    return entry


def settled_statistics(server: ServerProcess) -> dict:
    """Once what the clients abandoned has run, too: nothing changes any more."""
    deadline = time.monotonic() + 30
    before, entry = None, statistics(server)
    while entry != before:
        assert time.monotonic() < deadline, entry
        time.sleep(0.5)
        before, entry = entry, statistics(server)
    return entry


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_100000_requests_from_200_unruly_clients(start_server, tmp_path):
    samples = Samples()
    write_repository(tmp_path, ["tiny"])
    server = start_server(f"--model-repository={tmp_path}").wait_started()
    warm = asyncio.run(run_clients(server, samples, 0.1))
    before = resident_bytes(server.process.pid)
    outcome = asyncio.run(run_clients(server, samples, 1.0))
    after = resident_bytes(server.process.pid)
    assert warm.wrong + outcome.wrong == []
    assert outcome.right > 0.9 * (HTTP_CLIENTS * HTTP_REQUESTS + GRPC_CLIENTS * GRPC_REQUESTS)
    entry = settled_statistics(server)
    success = entry["inference_stats"]["success"]["count"]
    right, abandoned = warm.right + outcome.right, warm.abandoned + outcome.abandoned
    assert right <= success <= right + abandoned
    failed = entry["inference_stats"]["fail"]["count"]
    assert success + failed <= right + abandoned
    # A request cancelled while it was executed counts as executed and as failed.
    executed = entry["inference_count"]
    assert success <= executed <= success + failed
    assert executed == sum(
        batch["batch_size"] * batch["compute_infer"]["count"] for batch in entry["batch_stats"]
    )
    assert after - before < 32 * 1024 * 1024, f"grew from {before} to {after} bytes"
    assert server.stop() == 0
    assert any("complete: 0 in flight" in line for line in server.lines)
