"""Three times the capacity of a model: what is still answered, and how soon the rest is refused.

`identity` takes 5 ms for a batch and holds at most 100 waiting requests. Peak goodput is what 50
callers reach, who keep full batches waiting and are never refused; the overload is an open loop
of Poisson arrivals. A second client measures how long its calls take that are refused.
"""

import json
import statistics
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import tiny
from clients import grpc_options, own_loop
from harness import Report, Server, alternate, arguments, cores, fastserve, finish, parse

# isort: split
from fastserve import _core

MAX_BATCH_SIZE = 4
QUEUE_SIZE = 100
DELAY_MS = 5
OVERLOAD = 3
CONFIG = f"""backend: "identity"
max_batch_size: {MAX_BATCH_SIZE}
dynamic_batching {{ default_queue_policy {{ max_queue_size: {QUEUE_SIZE} }} }}
input [ {{ name: "INPUT0" data_type: TYPE_FP32 dims: [ 16 ] }} ]
output [ {{ name: "OUTPUT0" data_type: TYPE_FP32 dims: [ 16 ] }} ]
parameters {{ key: "execute_delay_ms" value {{ string_value: "{DELAY_MS}" }} }}
"""
REFUSAL = "Exceeds maximum queue size"
MESSAGE = tiny.grpc_message(replace(tiny.MODEL, name="slow"))


def peak(server: Server, seconds: float) -> float:
    """Answers a second of as many callers as keep full batches waiting without refusals."""
    load = grpc_options(server.grpc, tiny.INFER, MESSAGE, QUEUE_SIZE // 2, connections=4)
    return own_loop(load, seconds).rate


def overloaded(server: Server, capacity: float, concurrency: int = 4096) -> _core.LoadOptions:
    load = grpc_options(server.grpc, tiny.INFER, MESSAGE, concurrency, connections=4)
    load.arrival = _core.Arrival.POISSON
    load.request_rate = OVERLOAD * capacity
    return load


def goodput(server: Server, capacity: float, seconds: float) -> float:
    return own_loop(overloaded(server, capacity), seconds, allow_failures=True).rate


def refusals_us(server: Server, capacity: float, seconds: float) -> list[float]:
    """How long calls beside the overload take that are refused, each with its connection."""
    generator = _core.LoadGenerator.start(overloaded(server, capacity))
    call = grpc_options(server.grpc, tiny.INFER, MESSAGE, 1)
    call.request_timeout_s = 10
    spent = []
    time.sleep(0.2)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begin = time.perf_counter()
        code, reason, _ = _core.grpc_call(call)
        if code == 14 and REFUSAL in reason:
            spent.append((time.perf_counter() - begin) * 1e6)
    generator.stop(1.0)
    return spent


def failures(server: Server) -> tuple[int, int]:
    """Requests refused so far and the nanoseconds from their arrival to their answer."""
    url = f"http://127.0.0.1:{server.http}/v2/models/slow/stats"
    with urllib.request.urlopen(url) as page:
        fail = json.load(page)["model_stats"][0]["inference_stats"]["fail"]
    return int(fail["count"]), int(fail["ns"])


def main() -> None:
    options = parse(arguments(__doc__))
    report = Report(
        "overload",
        f"{OVERLOAD} times the capacity of a model",
        f"{cores()}; identity with {DELAY_MS} ms for a batch of {MAX_BATCH_SIZE}, max_queue_size "
        f"{QUEUE_SIZE}; gRPC, Poisson arrivals; median of {options.rounds} alternating rounds of "
        f"{options.seconds:g} s.",
    )
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (root / "slow" / "1").mkdir(parents=True)
        (root / "slow" / "config.pbtxt").write_text(CONFIG)
        server = stack.enter_context(fastserve(root))
        capacity = peak(server, options.seconds)
        before = failures(server)
        answered, peaks = alternate(
            options.rounds,
            lambda: goodput(server, capacity, options.seconds),
            lambda: peak(server, options.seconds),
        )
        after = failures(server)
        report.compare("answered under overload", answered, peaks, "requests/s", ">= 0.95")
        refused = after[0] - before[0]
        inside = (after[1] - before[1]) / max(refused, 1) / 1000
        report.single(f"refusal in the server, mean of {refused:,}", inside, 1000, "us")
        spent = refusals_us(server, capacity, options.seconds)
        if spent:
            median = f"{statistics.median(spent):,.0f} us, median of {len(spent)}"
            report.notes.append(f"A client's refused call, with opening its connection: {median}.")
    finish(report, options)


if __name__ == "__main__":
    main()
