"""What goes wrong in a Python model stays there: only the requests that it held fail."""

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from tests.python.python_models.conftest import eventually, grpc_of, infer, worker_pids
from tests.python.python_models.models import IDENTITY, answering, config, model

# 1: exits, 2: hangs, 3: takes memory, 4: is killed, 5: hangs without letting Python run,
# 6: crashes.
DANGEROUS = model("""
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        x = pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
        action = int(x.ravel()[0])
        if action == 1:
            import sys

            sys.exit(7)
        if action == 2:
            import time

            time.sleep(1000)
        if action == 3:
            self.taken = np.ones(2**30, np.uint8)
        if action == 4:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGKILL)
        if action == 5:
            sum(range(10**12))
        if action == 6:
            import ctypes

            ctypes.string_at(0)
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", x)])
    """)


def parameter(key: str, value: object) -> str:
    return f'parameters {{ key: "{key}" value: {{ string_value: "{value}" }} }}\n'


def row(value: float) -> np.ndarray:
    return np.array([[value]], np.float32)


def fails(protocol: tuple, name: str, value: float) -> str:
    with pytest.raises(InferenceServerException) as raised:
        infer(protocol, name, row(value))
    return str(raised.value)


def answers(protocol: tuple, name: str, value: float = 9) -> bool:
    return infer(protocol, name, row(value)).as_numpy("OUTPUT0").tolist() == [[value]]


def shared_memory_names() -> set[str]:
    return set(os.listdir("/dev/shm"))


@pytest.mark.parametrize(
    ("action", "reason", "place"),
    [
        (1, "status 7", "): answer"),
        (4, "signal 9 (SIGKILL)", ""),
        (6, "signal 11 (SIGSEGV)", " in answer"),
    ],
)
def test_a_worker_that_ends_fails_its_requests_and_comes_back(serve, action, reason, place):
    server = serve({"dangerous": (config(), DANGEROUS), "other": (config(), IDENTITY)})
    protocol = grpc_of(server)
    for _ in range(2):
        text = fails(protocol, "dangerous", action)
        assert reason in text
        assert place in text
        assert "dangerous" in text
        assert answers(protocol, "other")
        assert answers(protocol, "dangerous")  # waits for the next worker
        eventually(lambda: protocol[1].is_model_ready("dangerous"))
    assert server.stop() == 0


def test_a_model_without_a_worker_is_not_ready(serve, tmp_path):
    slow = IDENTITY.replace(
        "    def execute",
        f"    def initialize(self, args):\n        import os, time\n"
        f"        while os.path.exists({str(tmp_path / 'hold')!r}): time.sleep(0.01)\n\n"
        "    def execute",
        1,
    )
    server = serve({"slow": (config(), slow)})
    _, client = grpc_of(server)
    assert client.is_model_ready("slow")
    (tmp_path / "hold").touch()
    (pid,) = worker_pids(server)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not client.is_model_ready("slow"))
    (tmp_path / "hold").unlink()
    eventually(lambda: client.is_model_ready("slow"))


def test_what_waits_when_a_worker_dies_is_answered(serve):
    slow = answering("(__import__('time').sleep(0.02), x)[1]")
    server = serve({"slow": (config(batch=1), slow)})
    outcomes: list[str] = []

    def ask(number: int) -> None:
        try:
            assert answers(grpc_of(server), "slow", number)
            outcomes.append("right")
        except InferenceServerException as error:
            outcomes.append("held" if "signal 9" in str(error) else str(error))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(30)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    os.kill(worker_pids(server)[0], signal.SIGKILL)
    for thread in threads:
        thread.join(60)
    assert set(outcomes) <= {"right", "held"}
    assert outcomes.count("held") <= 2  # one runs, one is on its way
    assert outcomes.count("right") >= 28


@pytest.mark.parametrize("action", [2, 5])
def test_a_model_that_hangs_is_ended_at_its_limit(serve, action):
    limited = config(more=parameter("EXECUTION_TIMEOUT_SECONDS", 0.5))
    server = serve({"dangerous": (limited, DANGEROUS)})
    protocol = grpc_of(server)
    start = time.monotonic()
    text = fails(protocol, "dangerous", action)
    assert time.monotonic() - start < 10
    assert "0.5" in text
    assert answers(protocol, "dangerous")


def test_a_memory_limit_is_an_error_of_the_request(serve):
    limited = config(more=parameter("MEMORY_LIMIT_BYTES", 600 * 2**20))
    server = serve({"dangerous": (limited, DANGEROUS)})
    protocol = grpc_of(server)
    assert "Memory" in fails(protocol, "dangerous", 3)
    assert answers(protocol, "dangerous")


def test_workers_are_replaced_after_so_many_requests_and_none_is_lost(serve):
    code = answering("np.full_like(x, __import__('os').getpid())")
    limited = config(kind="INT32", more=parameter("MAX_REQUESTS_BEFORE_RESTART", 5))
    server = serve({"recycled": (limited, code)})
    protocol = grpc_of(server)
    pids = [
        int(infer(protocol, "recycled", np.array([[1]], np.int32)).as_numpy("OUTPUT0")[0, 0])
        for _ in range(20)
    ]
    assert len(set(pids)) >= 3


def test_a_model_that_cannot_start_says_why(start_server, tmp_path):
    from tests.python.python_models.models import write_python_model

    broken = model("""
        def initialize(self, args):
            raise RuntimeError("no licence")

        def execute(self, requests):
            pass
        """)
    for name, code in (("broken", broken), ("syntax", "def ("), ("empty", "x = 1\n")):
        write_python_model(tmp_path, name, config(), code)
    server = start_server(f"--model-repository={tmp_path}")
    assert server.wait_exit() != 0
    log = "\n".join(server.lines)
    assert "RuntimeError: no licence" in log
    assert "SyntaxError" in log
    assert "TritonPythonModel" in log


def test_nothing_is_left_when_the_server_is_killed(serve):
    before = shared_memory_names()
    server = serve({"identity": (config(more="instance_group [ { count: 2 } ]\n"), IDENTITY)})
    values = np.ones((1, 1_000_000), np.float32)
    protocol = grpc_of(server)
    assert np.array_equal(infer(protocol, "identity", values).as_numpy("OUTPUT0"), values)
    assert shared_memory_names() == before
    pids = worker_pids(server)
    assert len(pids) == 2
    server.process.kill()
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    assert shared_memory_names() == before


def test_unloading_ends_the_workers_and_their_descriptors(serve):
    server = serve({"identity": (config(), IDENTITY)}, "--model-control-mode=explicit")
    _, client = protocol = grpc_of(server)

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{server.process.pid}/fd"))

    def cycle() -> None:
        client.load_model("identity")
        assert answers(protocol, "identity")
        client.unload_model("identity")
        eventually(lambda: not worker_pids(server))

    cycle()
    before = descriptors()
    for _ in range(5):
        cycle()
    assert descriptors() <= before + 1


def test_a_reload_loses_no_request(serve, tmp_path):
    server = serve(
        {"identity": (config(), IDENTITY)}, "--model-control-mode=explicit", "--load-model=*"
    )
    end = threading.Event()
    wrong: list[str] = []

    def ask() -> None:
        protocol = grpc_of(server)
        while not end.is_set():
            try:
                if not answers(protocol, "identity"):
                    wrong.append("another answer")
            except InferenceServerException as error:
                wrong.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    client = grpcclient.InferenceServerClient(server.url("grpc"))
    for number in range(3):
        (tmp_path / "models" / "identity" / "1" / "model.py").write_text(IDENTITY + f"# {number}\n")
        client.load_model("identity")
    end.set()
    for thread in threads:
        thread.join()
    assert wrong == []
