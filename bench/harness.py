"""What every comparison shares: real processes on free ports, alternation, the table.

Each script compares figures of one run only: it measures the sides in turn, several rounds, and
reports the median of each and of the ratios. Server and client share the machine's cores.
"""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "python")]
READY_TIMEOUT_S = 60.0


@dataclass
class Row:
    """One line of a table: our figure, the other side's, their ratio and what it should be."""

    what: str
    ours: float
    theirs: float
    unit: str
    target: str  # ">= 0.6" or "<= 1.6"; empty when there is none
    ratio: float
    spread: str = ""  # least and greatest ratio of the rounds

    @property
    def met(self) -> bool | None:
        if not self.target:
            return None
        sign, limit = self.target.split()
        return self.ratio >= float(limit) if sign == ">=" else self.ratio <= float(limit)


@dataclass
class Report:
    """The result of one script."""

    name: str
    title: str
    how: str  # cores, clients, rounds
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    date: str = ""

    def compare(
        self, what: str, ours: Sequence[float], theirs: Sequence[float], unit: str, target: str = ""
    ) -> None:
        """Adds a row from samples taken in alternation."""
        ratios = [a / b for a, b in zip(ours, theirs, strict=True) if b > 0]
        ratio = statistics.median(ratios) if ratios else 0.0
        medians = statistics.median(ours), statistics.median(theirs)
        spread = f"{min(ratios):.2f}-{max(ratios):.2f}" if len(ratios) > 1 else ""
        self.rows.append(Row(what, *medians, unit, target, ratio, spread))

    def single(self, what: str, value: float, limit: float, unit: str) -> None:
        """Adds a row for a figure with an upper limit."""
        self.rows.append(Row(what, value, limit, unit, "<= 1", value / limit))

    def none(self, what: str, count: float) -> None:
        """Adds a row for something that must not happen."""
        self.rows.append(Row(what, count, 0, "", "<= 0", count))

    def markdown(self) -> str:
        lines = [f"### {self.title}", "", f"{self.how} {self.date}".strip(), ""]
        lines += ["| | fastserve | bound or peer | unit | ratio | target | met |"]
        lines += ["|---|---:|---:|---|---:|---|---|"]
        for row in self.rows:
            met = {True: "yes", False: "**no**", None: ""}[row.met]
            spread = f" [{row.spread}]" if row.spread else ""
            lines.append(
                f"| {row.what} | {number(row.ours)} | {number(row.theirs)} | {row.unit} "
                f"| {row.ratio:.2f}{spread} | {row.target} | {met} |"
            )
        lines += ["", *(f"- {note}" for note in self.notes)]
        return "\n".join(lines).rstrip() + "\n"


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The options of every script."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--smoke", action="store_true", help="a few seconds, to see that it runs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--json-out", type=Path, help="write the result as JSON")
    return parser


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    options = parser.parse_args()
    if options.smoke:
        options.rounds, options.seconds = 1, 0.5
    return options


def finish(report: Report, options: argparse.Namespace) -> None:
    """Prints the table and writes the JSON that run_all.py collects."""
    report.date = f"Measured {time.strftime('%Y-%m-%d')}."
    print(report.markdown())
    if options.json_out:
        options.json_out.parent.mkdir(parents=True, exist_ok=True)
        options.json_out.write_text(json.dumps(asdict(report), indent=2) + "\n")


def cores() -> str:
    count = len(os.sched_getaffinity(0))
    return f"{count} core{'s' * (count > 1)} shared by server and client ({platform.machine()})"


def need(program: str, package: str) -> str:
    """The path of a client or bound. Exits with the package to install."""
    path = shutil.which(program)
    if path is None:
        sys.exit(f"{program} is not installed: apt-get install {package}")
    return path


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_until(ready: Callable[[], bool], what: str, process: "subprocess.Popen[Any]") -> None:
    end = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < end:
        if process.poll() is not None:
            sys.exit(f"{what} ended with status {process.returncode}")
        if ready():
            return
        time.sleep(0.02)
    sys.exit(f"{what} is not ready after {READY_TIMEOUT_S:.0f} s")


def listening(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as response:
            return bool(response.status == 200)
    except OSError:
        return False


@contextmanager
def process(command: Sequence[str], log: Path | None = None, **more: Any) -> Iterator[Any]:
    """Runs a program in a group of its own; ends the group afterwards."""
    with (log or Path(os.devnull)).open("wb") as output:
        running = subprocess.Popen(
            list(command), stdout=output, stderr=output, start_new_session=True, **more
        )
        try:
            yield running
        finally:
            end_group(running)


def end_group(running: "subprocess.Popen[Any]") -> None:
    for number_ in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(running.pid, number_)
        except ProcessLookupError:
            break
        try:
            running.wait(10)
            break
        except subprocess.TimeoutExpired:
            continue


@dataclass
class Server:
    """A running fastserve (or another KServe server)."""

    pid: int
    http: int
    grpc: int
    metrics: int


@contextmanager
def fastserve(repository: Path, *flags: str) -> Iterator[Server]:
    """`python -m fastserve` on a model repository, ready."""
    server = Server(0, free_port(), free_port(), free_port())
    command = [sys.executable, "-m", "fastserve", f"--model-repository={repository}"]
    command += [f"--http-port={server.http}", f"--grpc-port={server.grpc}"]
    command += [f"--metrics-port={server.metrics}", "--http-address=127.0.0.1"]
    command += ["--grpc-address=127.0.0.1", *flags]
    log = Path(tempfile.gettempdir()) / f"fastserve-bench-{server.http}.log"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python")}
    with process(command, log, env=environment) as running:
        server.pid = running.pid
        ready = f"http://127.0.0.1:{server.http}/v2/health/ready"
        wait_until(lambda: answers(ready), f"fastserve (log: {log})", running)
        yield server
    log.unlink(missing_ok=True)


@contextmanager
def repository(*names: str) -> Iterator[Path]:
    """A model repository of synthetic models (see tests/models)."""
    from tests.models.repository import write_repository

    with tempfile.TemporaryDirectory() as directory:
        yield write_repository(directory, names)


def processor_seconds(pid: int) -> float:
    """User and system time of a process and its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(fields[i]) for i in (11, 12)) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    return int(found[1]) / 1024 if found else 0.0


Sample = Callable[[], float]


def alternate(rounds: int, *sides: Sample) -> list[list[float]]:
    """Samples of each side, taken in turn."""
    samples: list[list[float]] = [[] for _ in sides]
    for round_ in range(rounds):
        order = range(len(sides)) if round_ % 2 == 0 else reversed(range(len(sides)))
        for side in order:
            samples[side].append(sides[side]())
    return samples
