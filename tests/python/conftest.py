"""Fixtures of the Python tests: model repositories, and the server as a real process on free
ports.
"""

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_START_TIMEOUT_S = 60.0
_STARTED = re.compile(r"Started (GRPCInferenceService|HTTPService|Metrics Service) at [^:]+:(\d+)")
_NAMES = {"GRPCInferenceService": "grpc", "HTTPService": "http", "Metrics Service": "metrics"}

IDENTITY_CONFIG = """
backend: "identity"
max_batch_size: 8
input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ -1 ] } ]
"""


def write_model(
    repository: Path, name: str, config: str = IDENTITY_CONFIG, version: int = 1
) -> Path:
    """REPOSITORY/NAME with a config.pbtxt and an empty version directory; returns the model's
    directory.
    """
    directory = repository / name
    (directory / str(version)).mkdir(parents=True, exist_ok=True)
    (directory / "config.pbtxt").write_text(config)
    return directory


class ServerProcess:
    """`python -m fastserve` on free ports.

    Its log is read all the time, so it never blocks on a full pipe.
    """

    def __init__(self, arguments: list[str], environment: dict[str, str] | None = None) -> None:
        ports = ["--http-port=0", "--grpc-port=0", "--metrics-port=0"]
        given = {argument.partition("=")[0] for argument in arguments}
        ports = [port for port in ports if port.partition("=")[0] not in given]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fastserve", *ports, *arguments],
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.lines: list[str] = []
        self.ports: dict[str, int] = {}
        self._changed = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                if match := _STARTED.search(line):
                    self.ports[_NAMES[match[1]]] = int(match[2])
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_started(self, services: int = 3) -> "ServerProcess":
        """Until that many services listen.

        AssertionError, with the log, when the process ends before.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._ended or len(self.ports) >= services, _START_TIMEOUT_S
            )
            assert len(self.ports) >= services, "the server did not start:\n" + "\n".join(
                self.lines
            )
        return self

    def wait_line(self, text: str) -> str:
        """The first log line that contains `text`. AssertionError when the log ends without one."""

        def found() -> bool:
            return self._ended or any(text in line for line in self.lines)

        with self._changed:
            self._changed.wait_for(found, _START_TIMEOUT_S)
            matching = [line for line in self.lines if text in line]
            assert matching, f"no line with {text!r}:\n" + "\n".join(self.lines)
            return matching[0]

    def url(self, service: str) -> str:
        """host:port of "http", "grpc" or "metrics"."""
        return f"127.0.0.1:{self.ports[service]}"

    def wait_exit(self) -> int:
        """The exit status, once the process has ended by itself."""
        status = self.process.wait(_START_TIMEOUT_S)
        self._reader.join()
        return status

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends a signal and returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait_exit()

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()


@contextmanager
def serving_all(
    repository: Path, environment: dict[str, str] | None = None
) -> Iterator[ServerProcess]:
    """A server that has loaded every model of a repository, and ends well."""
    process = ServerProcess(
        [f"--model-repository={repository}", "--model-control-mode=explicit", "--load-model=*"],
        environment,
    )
    try:
        yield process.wait_started()
        assert process.stop() == 0
    finally:
        process.kill()


@pytest.fixture
def start_server() -> Iterator[Callable[..., ServerProcess]]:
    """Starts server processes; kills, by pid, what is left of them when the test ends."""
    processes: list[ServerProcess] = []

    def start(*arguments: str, environment: dict[str, str] | None = None) -> ServerProcess:
        processes.append(ServerProcess(list(arguments), environment))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()


@pytest.fixture(scope="module")
def start_module_server() -> Iterator[Callable[..., ServerProcess]]:
    """start_server for a server that the tests of one module share."""
    processes: list[ServerProcess] = []

    def start(*arguments: str) -> ServerProcess:
        processes.append(ServerProcess(list(arguments)))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
