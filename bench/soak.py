"""Mixed load for an hour, while a worker process is killed every few seconds.

Every request that a killed worker did not hold must be answered, and rightly; memory and
descriptors of the server and of its workers must not grow. `--minutes 60` is the whole soak; the
default is a short one.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import numpy as np
import tritonclient.grpc.aio as grpcclient
import tritonclient.http.aio as httpclient
from harness import Report, Server, arguments, cores, fastserve, finish, resident_mb
from python_backend import CONFIG, IDENTITY
from tritonclient.utils import InferenceServerException

from tests.models.repository import write_repository

CLIENTS = 4  # of each kind
GROWTH_MB = 48
# An error may say only that the worker died with the request.
HELD = "killed by signal 9"
DECOUPLED = """import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            for value in pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy().ravel():
                tensor = pb_utils.Tensor("OUTPUT0", np.array([[value]], np.float32))
                sender.send(pb_utils.InferenceResponse([tensor]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
BLS = """import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        inner = pb_utils.InferenceRequest(
            model_name="TARGET", requested_output_names=["OUTPUT0"], inputs=request.inputs()
        ).exec()
        if inner.has_error():
            return pb_utils.InferenceResponse([], inner.error())
        return pb_utils.InferenceResponse(inner.output_tensors())
"""


ENSEMBLE = """platform: "ensemble"
max_batch_size: 4
input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [ 16 ] } ]
output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ 16 ] } ]
ensemble_scheduling { step [
  { model_name: "echo" model_version: -1 input_map { key: "INPUT0" value: "INPUT0" }
    output_map { key: "OUTPUT0" value: "echoed" } },
  { model_name: "tiny" model_version: -1 input_map { key: "INPUT0" value: "echoed" }
    output_map { key: "OUTPUT0" value: "OUTPUT0" } } ] }
"""
ADDS_ONE = ("tiny", "bls", "ensemble")
LARGE = 1 << 18  # floats: 1 MB


@dataclass
class Outcome:
    """What the clients saw."""

    right: Counter[str] = field(default_factory=Counter)
    held: Counter[str] = field(default_factory=Counter)  # failed with the worker that was killed
    wrong: list[str] = field(default_factory=list)


def write_models(root: Path) -> Path:
    write_repository(root, ["tiny"])
    config = CONFIG.format(batch=8, type="FP32", dims=16)
    decoupled = CONFIG.format(batch=8, type="FP32", dims=-1)
    decoupled += "model_transaction_policy { decoupled: true }\n"
    two = "instance_group [ { count: 2 kind: KIND_CPU } ]\n"
    for name, text, code in (
        ("echo", config + two + "dynamic_batching { }\n", IDENTITY),
        ("large", CONFIG.format(batch=8, type="FP32", dims=-1), IDENTITY),
        ("strings", CONFIG.format(batch=8, type="STRING", dims=-1), IDENTITY),
        ("bls", config, BLS.replace("TARGET", "tiny")),
        ("bls_echo", config, BLS.replace("TARGET", "echo")),
        ("stream", decoupled, DECOUPLED),
        ("ensemble", ENSEMBLE, ""),
    ):
        (root / name / "1").mkdir(parents=True)
        (root / name / "config.pbtxt").write_text(text)
        if code:
            (root / name / "1" / "model.py").write_text(code)
    return root


def tensor(module: Any, values: np.ndarray[Any, Any]) -> Any:
    kind = "BYTES" if values.dtype == object else "FP32"
    return module.InferInput("INPUT0", list(values.shape), kind).set_data_from_numpy(values)


async def unary(client: Any, module: Any, model: str, values: np.ndarray[Any, Any]) -> bool:
    if model == "large":
        values = np.resize(values, (1, LARGE))
    elif model == "strings":
        values = values.astype("S").astype(object)
    result = await client.infer(model, [tensor(module, values)])
    expected = values + np.float32(1) if model in ADDS_ONE else values
    return bool(np.array_equal(result.as_numpy("OUTPUT0"), expected))


async def cancelled(client: Any, module: Any, model: str, values: np.ndarray[Any, Any]) -> bool:
    """Goes away while the request waits, runs, or has just been answered."""
    asked = asyncio.ensure_future(unary(client, module, model, values))
    # Waits for nothing: it is the moment at which the client goes away, a random one.
    await asyncio.sleep(float(values[0, 0]) / 100)
    asked.cancel()
    try:
        return await asked
    except asyncio.CancelledError:
        return True


async def generate(client: Any, module: Any, model: str, values: np.ndarray[Any, Any]) -> bool:
    del module
    seen: list[float] = []
    url = f"http://{client}/v2/models/{model}/generate_stream"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json={"INPUT0": values.ravel().tolist()}) as answer,
    ):
        async for line in answer.content:
            if not line.startswith(b"data:"):
                continue
            event = json.loads(line[5:])
            if "error" in event:
                raise InferenceServerException(event["error"])
            if "OUTPUT0" in event:
                seen.append(np.float32(event["OUTPUT0"]).item())
    return seen == values.ravel().tolist()


async def stream(client: Any, module: Any, model: str, values: np.ndarray[Any, Any]) -> bool:
    async def requests() -> Any:
        yield {"model_name": model, "inputs": [tensor(module, values)]}

    seen = []
    async for result, error in client.stream_infer(requests()):
        if error is not None:
            raise error
        seen.append(float(result.as_numpy("OUTPUT0")[0, 0]))
        if len(seen) == values.size:
            break
    return seen == values.ravel().tolist()


Call = Callable[[Any, Any, str, np.ndarray[Any, Any]], Coroutine[Any, Any, bool]]


async def client_loop(
    module: Any, url: str, model: str, call: Call, end: float, outcome: Outcome
) -> None:
    rng = np.random.default_rng(abs(hash((url, model))) % 1000)
    client: Any = url if module is aiohttp else module.InferenceServerClient(url)
    try:
        while time.monotonic() < end:
            values = rng.random((1, 16), np.float32)
            try:
                right = await asyncio.wait_for(call(client, module, model, values), 60)
            except InferenceServerException as error:
                if HELD in str(error):
                    outcome.held[model] += 1
                else:
                    outcome.wrong.append(f"{model}: {error}")
                continue
            except asyncio.TimeoutError:
                outcome.wrong.append(f"{model}: no answer within a minute")
                continue
            if right:
                outcome.right[model] += 1
            else:
                outcome.wrong.append(f"{model}: another answer")
    finally:
        if module is not aiohttp:
            await client.close()


def workers(pid: int) -> list[int]:
    """The server's child processes."""
    children = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            children += [int(child) for child in (task / "children").read_text().split()]
        except OSError:  # a thread that just ended
            continue
    return children


async def kill_workers(pid: int, every_s: float, end: float) -> int:
    killed = 0
    chooser = random.Random(1)
    while time.monotonic() + 2 * every_s < end:
        await asyncio.sleep(every_s)
        found = workers(pid)
        if found:
            os.kill(chooser.choice(found), signal.SIGKILL)
            killed += 1
    return killed


async def load(server: Server, seconds: float, every_s: float) -> tuple[Outcome, int]:
    outcome = Outcome()
    end = time.monotonic() + seconds
    grpc_url, http_url = f"127.0.0.1:{server.grpc}", f"127.0.0.1:{server.http}"
    kinds: list[tuple[Any, str, str, Call]] = [
        (grpcclient, grpc_url, "echo", unary),
        (httpclient, http_url, "echo", unary),
        (grpcclient, grpc_url, "bls", unary),
        (grpcclient, grpc_url, "stream", stream),
        (grpcclient, grpc_url, "tiny", unary),
        (grpcclient, grpc_url, "bls_echo", unary),
        (httpclient, http_url, "bls_echo", unary),
        (grpcclient, grpc_url, "strings", unary),
        (httpclient, http_url, "large", unary),
        (grpcclient, grpc_url, "ensemble", unary),
        (grpcclient, grpc_url, "bls", cancelled),
        (grpcclient, grpc_url, "echo", cancelled),
        (aiohttp, http_url, "stream", generate),
    ]
    loops = [client_loop(*kind, end, outcome) for kind in kinds for _ in range(CLIENTS)]
    killed, *_ = await asyncio.gather(kill_workers(server.pid, every_s, end), *loops)
    return outcome, killed


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def largest_worker(pid: int) -> tuple[float, int]:
    """Memory and descriptors of the worker that has most; workers come and go meanwhile."""
    memory, open_files = 0.0, 0
    for child in workers(pid):
        try:
            memory = max(memory, resident_mb(child))
            open_files = max(open_files, descriptors(child))
        except OSError:
            continue
    return memory, open_files


def soak(report: Report, server: Server, options: argparse.Namespace, seconds: float) -> None:
    warm, _ = asyncio.run(load(server, max(5.0, seconds / 20), options.kill_every))
    time.sleep(1)
    before = resident_mb(server.pid), descriptors(server.pid)
    worker_before = largest_worker(server.pid)
    outcome, killed = asyncio.run(load(server, seconds, options.kill_every))
    time.sleep(1)
    after = resident_mb(server.pid), descriptors(server.pid)
    worker_after = largest_worker(server.pid)
    report.none("answers that were wrong, late or failed", len(warm.wrong + outcome.wrong))
    held = sum(outcome.held.values())
    report.single("requests failed with a killed worker", held / max(1, killed), 3 * CLIENTS, "")
    report.single("growth of the server's memory", after[0] - before[0], GROWTH_MB, "MB")
    report.single("descriptors after, and before", after[1], before[1] + 4, "")
    grown = worker_after[0] - worker_before[0]
    report.single("growth of the largest worker's memory", grown, GROWTH_MB, "MB")
    report.single(
        "a worker's descriptors after, and before", worker_after[1], worker_before[1] + 4, ""
    )
    report.notes.append(
        f"{sum(outcome.right.values()):,} right answers ({dict(outcome.right)}); {killed} workers "
        f"killed, {held} requests failed with them ({dict(outcome.held)})."
    )
    report.notes += sorted(set(warm.wrong + outcome.wrong))[:10]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="also with --smoke")
    parser.add_argument("--kill-every", type=float, default=3.0, help="seconds")
    options = parser.parse_args()
    seconds = options.minutes * 60
    report = Report(
        "soak",
        "Mixed load while workers are killed",
        f"{cores()}; tritonclient, gRPC and HTTP, {CLIENTS} clients of each kind; "
        f"{seconds / 60:.1f} minutes.",
    )
    with ExitStack() as stack:
        root = write_models(Path(stack.enter_context(TemporaryDirectory())))
        server = stack.enter_context(fastserve(root))
        soak(report, server, options, seconds)
    finish(report, options)
    if not all(row.met for row in report.rows):
        sys.exit("the soak failed")


if __name__ == "__main__":
    main()
