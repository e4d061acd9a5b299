"""The light clients: h2load (gRPC), wrk (HTTP), and our own sending loop for percentiles."""

import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from harness import need

# isort: split
from fastserve import _core


def h2load(url: str, seconds: float, callers: int, body: Path | None = None) -> float:
    """Requests a second over HTTP/2, one stream on each of `callers` connections."""
    command = [need("h2load", "nghttp2-client"), "-c", str(callers), "-m", "1", "-t", "1"]
    command += ["-D", f"{max(1, round(seconds))}"]
    if body is not None:
        command += ["-d", str(body), "-H", "content-type: application/grpc", "-H", "te: trailers"]
    output = subprocess.run([*command, url], check=True, capture_output=True, text=True).stdout
    done = re.search(r"requests: .* (\d+) succeeded, (\d+) failed", output)
    if done is None or int(done[1]) == 0:
        sys.exit(f"h2load {url} measured nothing:\n{output}")
    if int(done[2]) > int(done[1]) / 1000:
        sys.exit(f"h2load {url}: {done[2]} requests failed")
    rate = re.search(r"finished in .*?, ([\d.]+) req/s", output)
    assert rate is not None
    return float(rate[1])


WRK_SCRIPT = """
local file = io.open("{body}", "rb")
wrk.method = "POST"
wrk.body = file:read("*a")
{headers}
"""


def wrk(url: str, seconds: float, callers: int, script: Path) -> float:
    """Requests a second over HTTP/1.1 from one thread."""
    command = [need("wrk", "wrk"), "-t1", f"-c{callers}", f"-d{max(1, round(seconds))}s"]
    output = subprocess.run(
        [*command, "-s", str(script), url], check=True, capture_output=True, text=True
    ).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        sys.exit(f"wrk {url}: requests failed:\n{output}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    assert rate is not None, output
    return float(rate[1])


def wrk_script(directory: Path, name: str, body: bytes, headers: dict[str, str]) -> Path:
    """The Lua file that makes wrk post a body."""
    (directory / f"{name}.body").write_bytes(body)
    lines = "\n".join(f'wrk.headers["{key}"] = "{value}"' for key, value in headers.items())
    script = directory / f"{name}.lua"
    script.write_text(WRK_SCRIPT.format(body=directory / f"{name}.body", headers=lines))
    return script


_PATIENCE_S = 60


@dataclass
class Loop:
    """What the sending loop measured."""

    rate: float
    p50_us: float
    p99_us: float
    cpu_share: float  # of one core, taken by the sending thread
    failed: int


def own_loop(options: _core.LoadOptions, seconds: float, allow_failures: bool = False) -> Loop:
    """Runs fastserve's sending loop with prepared options; warm-up is a tenth of the time."""
    generator = _core.LoadGenerator.start(options)
    time.sleep(max(0.2, seconds / 10))
    begin = generator.snapshot()
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        time.sleep(seconds)
        window = generator.snapshot().since(begin)
        # Calls that take seconds: until there are some to take a median of.
        if window.completed >= 5 or time.monotonic() > deadline:
            break
    generator.stop(1.0)
    if window.completed == 0 or (window.failed and not allow_failures):
        sys.exit(f"requests failed: {generator.errors()[:3]}")
    return Loop(
        rate=window.completed / window.time_s,
        p50_us=window.percentile_us(50),
        p99_us=window.percentile_us(99),
        cpu_share=window.cpu_s / window.time_s,
        failed=window.failed,
    )


def grpc_options(
    port: int, path: str, message: bytes, callers: int, connections: int = 0
) -> _core.LoadOptions:
    """Options of the sending loop for gRPC, one connection to each caller unless told."""
    options = _core.LoadOptions()
    options.protocol = _core.LoadProtocol.GRPC
    options.host, options.port, options.grpc_path = "127.0.0.1", str(port), path
    options.concurrency = callers
    options.connections = options.max_connections = connections or callers
    options.set_requests([(message, None)])
    return options


def http_options(port: int, request: bytes, callers: int) -> _core.LoadOptions:
    """Options of the sending loop for HTTP, one connection to each caller."""
    options = _core.LoadOptions()
    options.host, options.port = "127.0.0.1", str(port)
    options.concurrency = options.connections = options.max_connections = callers
    options.set_requests([(request, None)])
    return options
