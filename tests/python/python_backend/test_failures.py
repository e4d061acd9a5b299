"""What a model can do wrong, and who is told."""

import os
import select
import signal

import numpy as np
import pytest

from tests.python.python_backend.conftest import write_python_model
from tests.python.python_backend.worker_peer import Request

FAILED = "Failed to process the request(s) for model 'model_0_0', message: "


def still_works(peer) -> bool:
    return len(peer.execute(Request(id="ok"))) == 1


@pytest.mark.parametrize("head", ["def execute", "async def execute"])
def test_an_exception_fails_the_whole_batch_with_its_place(run_execute, head):
    peer = run_execute("raise ValueError(f'no {requests[0].request_id()}\\0é')", head=head)
    for answer in peer.execute(Request(id="a"), Request(id="b")):
        assert (answer.kind, answer.code) == (2, 1)
        assert answer.message.startswith(FAILED + "ValueError: no a\0é\n\nAt:\n  ")
        assert answer.message.endswith("model/1/model.py(6): execute")
    assert still_works(peer)


ODD = "class Panic(BaseException): pass\n"


@pytest.mark.parametrize("head", ["def execute", "async def execute"])
@pytest.mark.parametrize(
    ("code", "text"),
    [
        (ODD + "if requests[0].request_id(): raise Panic('rust')", "Panic: rust"),
        (
            "import asyncio\nif requests[0].request_id(): raise asyncio.CancelledError('gone')",
            "CancelledError: gone",
        ),
    ],
)
def test_an_exception_that_is_no_exception_fails_its_batch(run_execute, head, code, text):
    peer = run_execute(f"{code}\nreturn [pb_utils.InferenceResponse()]", head=head)
    (answer,) = peer.execute(Request(id="a"))
    assert (answer.kind, answer.code) == (2, 1)
    assert FAILED + text in answer.message
    (answer,) = peer.execute(Request())
    assert answer.kind == 1


def test_a_decoupled_coroutine_that_panics_fails_its_requests(run_execute):
    peer = run_execute(ODD + "raise Panic('rust')", True, head="async def execute")
    peer.start([Request()])
    assert peer.executed() == (-1, "")
    assert FAILED + "Panic: rust" in peer.response().message


def test_a_decoupled_model_that_panics_fails_its_requests(run_execute):
    peer = run_execute(ODD + "raise Panic('rust')", True)
    peer.start([Request()])
    assert FAILED + "Panic: rust" in peer.executed()[1]


def test_a_batch_of_a_coroutine_that_cannot_be_answered_ends_the_worker(run_execute):
    peer = run_execute(
        """
        import fastserve_worker.wire as wire
        def fail(*_): raise MemoryError("no room for answers")
        wire.pack_responses = fail
        return [pb_utils.InferenceResponse()]
        """,
        head="async def execute",
    )
    peer.start([Request()])
    assert peer.process.wait(30) == 1
    assert "MemoryError: no room for answers" in peer.stderr()


def test_a_batch_that_is_cancelled_before_its_start_ends_the_worker(run_execute, tmp_path):
    peer = run_execute(
        f"""
        import asyncio, os
        if requests[0].request_id() == "first":
            print("running")
            while not os.path.exists("{tmp_path}/all are sent"): pass
        elif requests[0].request_id() == "second":
            for task in asyncio.all_tasks(): task.cancel()
        return [pb_utils.InferenceResponse()]
        """,
        head="async def execute",
    )
    peer.start([Request(id="first")])
    assert peer.process.stdout.readline() == b"running\n"
    peer.start([Request(id="second")])
    peer.start([Request(id="third")])
    (tmp_path / "all are sent").touch()
    assert peer.process.wait(30) == 1
    assert "cancelled a batch of requests before its start" in peer.stderr()


def test_an_exception_whose_text_raises_is_told(run_execute):
    peer = run_execute("""
        class Odd(Exception):
            def __str__(self):
                raise RuntimeError
        raise Odd
    """)
    (answer,) = peer.execute(Request())
    assert "Odd: (its text raised RuntimeError)" in answer.message


def test_an_error_of_one_request_leaves_the_others_alone(run_execute):
    peer = run_execute("""
        error = pb_utils.TritonError("not you", pb_utils.TritonError.NOT_FOUND)
        output = pb_utils.Tensor("OUT", np.ones(1))
        return [
            pb_utils.InferenceResponse(error=error),
            pb_utils.InferenceResponse([output]),
        ]
    """)
    first, second = peer.execute(Request(), Request())
    assert (first.kind, first.code, first.message) == (2, 2, "not you")
    assert second["OUT"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ("[]", "execute returned 0 responses for 2 requests"),
        ("[pb_utils.InferenceResponse()] * 3", "execute returned 3 responses for 2 requests"),
        ("None", "execute returned NoneType, expected a list"),
        ("7", "execute returned int, expected a list"),
        ("['a', 'b']", "execute returned a list with str, expected InferenceResponse"),
    ],
)
def test_a_wrong_result_fails_every_request(run_execute, result, text):
    peer = run_execute(f"return {result}")
    for answer in peer.execute(Request(), Request()):
        assert text in answer.message


def test_none_without_rescheduling_is_an_error_of_that_request(run_execute):
    peer = run_execute("return [None, pb_utils.InferenceResponse()]")
    first, second = peer.execute(Request(), Request())
    assert "returned None" in first.message
    assert second.kind == 1


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("pb_utils.Tensor('T', np.ones(1, np.complex64))", "numpy type 'complex64' has no Triton"),
        ("pb_utils.Tensor('T', np.array(['2024'], 'M8[Y]'))", "has no Triton type"),
        ("pb_utils.Tensor(7, np.ones(1))", "a tensor's name is int, expected str"),
        ("pb_utils.Tensor('T', np.array(['\\ud800'], object))", "cannot be sent as UTF-8"),
        ("pb_utils.InferenceResponse(['a'])", "output tensors are of type str"),
        ("pb_utils.InferenceResponse(error='text')", "error is of type str"),
        ("pb_utils.InferenceResponse(parameters={1: 2})", "parameter key 1 is not a str"),
        ("pb_utils.InferenceResponse(parameters={'a': []})", "parameter 'a' is of type list"),
        ("pb_utils.InferenceResponse(parameters=[1])", "parameters are of type list"),
        ("pb_utils.TritonError('text', 99)", "error code 99 is not one of 0 to 7"),
        ("requests[0].set_release_flags(5)", "release flags 5"),
        ("pb_utils.InferenceRequest(flags=8)", "request flags 8 are not in 0 to 3"),
        ("pb_utils.InferenceRequest(correlation_id=-1)", "correlation id -1"),
        ("pb_utils.InferenceRequest(correlation_id=1.5)", "correlation id is of type float"),
        ("pb_utils.InferenceRequest(timeout=-1)", "timeout -1"),
        ("pb_utils.InferenceRequest(inputs=[1]).exec()", "inputs are of type int"),
        ("pb_utils.InferenceRequest().exec()", "the request names no model"),
        ("pb_utils.InferenceRequest(model_name='m').get_response_sender()", "response sender"),
        ("pb_utils.PreferredMemory(9)", "memory type 9"),
        ("pb_utils.Logger.log('x', 9)", "log level 9"),
    ],
)
def test_wrong_arguments_raise_what_is_wrong(run_execute, expression, text):
    peer = run_execute(f"{expression}\nreturn []")
    (answer,) = peer.execute(Request())
    assert f"{FAILED}TritonModelException: " in answer.message
    assert text in answer.message
    assert "model.py(6): execute" in answer.message


def test_a_response_that_cannot_be_sent_fails_alone(run_execute):
    peer = run_execute("""
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("\\ud800", np.ones(1))]),
            pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.ones(1))]),
        ]
    """)
    first, second = peer.execute(Request(), Request())
    assert "the response cannot be sent: " in first.message
    assert second["OUT"].tolist() == [1.0]


def test_an_error_text_with_half_a_surrogate_is_escaped(run_execute):
    peer = run_execute(
        "return [pb_utils.InferenceResponse(error=pb_utils.TritonError('a\\ud800b\\0'))]"
    )
    (answer,) = peer.execute(Request())
    assert answer.message == "a\\ud800b\0"


def test_an_output_above_the_memory_limit_fails_its_request(run_execute):
    peer = run_execute(
        """
        size = 1 << 30 if requests[0].request_id() == "big" else 1
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.ones(size, np.uint8))])]
        """,
        memory_limit_bytes=512 << 20,
    )
    (answer,) = peer.execute(Request(id="big"))
    assert "MemoryError" in answer.message
    assert still_works(peer)


@pytest.mark.parametrize(
    ("code", "status"),
    [("import sys; sys.exit(7)", 7), ("import os; os._exit(9)", 9), ("raise SystemExit", 0),
     ("raise SystemExit('over')", 1), ("raise KeyboardInterrupt", 1)],
)  # fmt: skip
@pytest.mark.parametrize("head", ["def execute", "async def execute"])
def test_an_exit_of_the_model_is_the_end_of_the_worker(run_execute, code, status, head):
    peer = run_execute(code, head=head)
    peer.start([Request()])
    assert peer.process.wait(30) == status


@pytest.mark.parametrize("head", ["def execute", "async def execute"])
def test_the_place_of_an_exit_is_told(run_execute, head):
    peer = run_execute("raise SystemExit('no licence')", head=head)
    peer.start([Request()])
    text = peer.stderr()
    assert text.startswith("the worker ends by SystemExit: no licence\n\nAt:\n  ")
    assert "model/1/model.py(6): execute\n" in text


def test_the_place_of_a_crash_is_told(run_execute):
    peer = run_execute("import ctypes\nctypes.string_at(0)")
    peer.start([Request()])
    assert peer.process.wait(30) == -signal.SIGSEGV
    text = peer.stderr()
    assert "Segmentation fault" in text
    assert 'model/1/model.py", line 7 in execute' in text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("x = (", "SyntaxError"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("class Other: pass", "has no class TritonPythonModel"),
        ("class TritonPythonModel: pass", "has no method execute"),
        (
            "class TritonPythonModel:\n"
            "    def initialize(self, args): raise RuntimeError('weights')\n"
            "    def execute(self, requests): pass",
            "RuntimeError: weights\n\nAt:\n  ",
        ),
        (ODD + "raise Panic('import')", "Panic: import"),
        (
            ODD + "class TritonPythonModel:\n"
            "    def initialize(self, args): raise Panic('start')\n"
            "    def execute(self, requests): pass",
            "Panic: start",
        ),
    ],
)
def test_a_model_that_does_not_start_says_why(tmp_path, new_peer, source, text):
    peer = new_peer()
    answer = peer.initialize(write_python_model(tmp_path, source))
    assert text in answer["error"]


def test_the_worker_ends_when_the_channel_is_closed(run_execute):
    peer = run_execute("return [pb_utils.InferenceResponse()]")
    peer.socket.close()
    assert peer.process.wait(30) == 1


def test_the_worker_ends_when_the_channel_is_closed_while_it_executes(run_execute):
    peer = run_execute("import time\nprint('running')\ntime.sleep(1000)")
    peer.start([Request()])
    assert peer.process.stdout.readline() == b"running\n"
    peer.socket.close()
    assert peer.process.wait(30) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("head", ["def execute", "async def execute"])
def test_a_signal_to_all_processes_is_the_servers_to_handle(run_execute, head, number):
    peer = run_execute(
        """
        if requests[0].request_id() == "in flight":
            print("in flight")
            while not requests[0].is_cancelled(): pass
        return [pb_utils.InferenceResponse()]
        """,
        head=head,
    )
    os.kill(peer.process.pid, number)
    assert still_works(peer)
    request = Request(id="in flight")
    execution = peer.start([request])
    assert peer.process.stdout.readline() == b"in flight\n"
    os.kill(peer.process.pid, number)
    peer.cancel(request.handle)
    assert peer.responses(execution)[0].kind == 1


def test_what_a_model_starts_ends_by_a_signal(run_execute):
    peer = run_execute("""
        import multiprocessing, subprocess, sys, time
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,))
        child.start()
        child.terminate()
        child.join()
        program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
        program.terminate()
        codes = [child.exitcode, program.wait()]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array(codes))])]
    """)
    (answer,) = peer.execute(Request())
    assert answer["OUT"].tolist() == [-signal.SIGTERM] * 2


def test_a_forked_child_neither_speaks_on_the_channel_nor_keeps_it(run_execute):
    peer = run_execute("""
        import os
        child = os.fork()
        if child == 0:
            requests.clear()  # releases the block, in the child
            pb_utils.Logger.log_info("from the child")
            try:
                pb_utils.is_model_ready("x")
            except pb_utils.TritonModelException:
                os._exit(5)
            os._exit(6)
        status = os.waitpid(child, 0)[1] >> 8
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([status]))])]
    """)
    (answer,) = peer.execute(Request({"IN": np.zeros(2 << 20, np.uint8)}))
    assert answer["OUT"].tolist() == [5]
    assert peer.log == []
    assert not peer.released
    assert peer.finalize() == 0
    assert peer.stderr() == "from the child\n"


def test_a_forked_child_is_killed_with_its_worker(run_execute):
    peer = run_execute("""
        import os, time
        child = os.fork()
        while child == 0:
            time.sleep(1000)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([child]))])]
    """)
    (answer,) = peer.execute(Request())
    child = os.pidfd_open(int(answer["OUT"][0]))
    peer.process.kill()
    ended = select.select([child], [], [], 30)[0]
    os.close(child)
    assert ended


def test_a_child_of_a_thread_outlives_the_thread(run_execute):
    peer = run_execute("""
        import os, threading
        here, there = os.pipe()
        children = []
        def fork():
            child = os.fork()
            if child == 0:
                os.read(here, 1)
                os._exit(5)
            children.append(child)
        thread = threading.Thread(target=fork)
        thread.start()
        thread.join()
        os.write(there, b"go on")
        status = os.waitpid(children[0], 0)[1]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([status]))])]
    """)
    (answer,) = peer.execute(Request())
    assert answer["OUT"].tolist() == [5 << 8]


def test_a_child_of_a_child_outlives_it(run_execute):
    peer = run_execute("""
        import os
        here, there = os.pipe()
        told, tell = os.pipe()
        child = os.fork()
        if child == 0:
            if os.fork() == 0:
                os.read(here, 1)
                os.write(tell, b"lives")
            os._exit(0)
        os.waitpid(child, 0)
        os.write(there, b"go on")
        os.close(tell)
        text = os.read(told, 5)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([text], object))])]
    """)
    (answer,) = peer.execute(Request())
    assert answer["OUT"].tolist() == [b"lives"]


@pytest.mark.parametrize("decoupled", [False, True])
def test_a_forked_child_cannot_send(run_execute, decoupled):
    peer = run_execute(
        """
        import os
        sender = requests[0].get_response_sender()
        child = os.fork()
        if child == 0:
            try:
                sender.send(pb_utils.InferenceResponse(), 1)
            except pb_utils.TritonModelException as error:
                os._exit(5 if "not a worker" in str(error) else 6)
            os._exit(7)
        status = os.waitpid(child, 0)[1] >> 8
        output = pb_utils.Tensor("OUT", np.array([status]))
        sender.send(pb_utils.InferenceResponse([output]), 1)
        """,
        decoupled,
    )
    execution = peer.start([Request()])
    answer = peer.response() if decoupled else peer.responses(execution)[0]
    assert answer["OUT"].tolist() == [5]
