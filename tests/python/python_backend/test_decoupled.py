"""Decoupled models: response senders, cancellation, failures."""

import numpy as np
import pytest

from tests.python.python_backend.worker_peer import Request

FINAL = "pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL"
COUNT = f"""
    for r in requests:
        sender = r.get_response_sender()
        for at in range(3):
            output = pb_utils.Tensor("OUT", np.array([at]))
            sender.send(pb_utils.InferenceResponse([output]))
        sender.send(flags={FINAL})
"""


@pytest.mark.parametrize("head", ["def execute", "async def execute"])
def test_responses_come_in_order_and_end_with_the_final_flag(run_execute, head):
    peer = run_execute(COUNT, decoupled=True, head=head)
    request = Request()
    peer.start([request])
    answers = [peer.response() for _ in range(4)]
    assert [answer["OUT"].tolist() for answer in answers[:3]] == [[0], [1], [2]]
    assert [(answer.handle, answer.flags) for answer in answers] == [
        (request.handle, flags) for flags in (0, 0, 0, 1)
    ]
    assert answers[3].kind == 0
    assert peer.executed() == (-1, "")


@pytest.mark.parametrize(
    "change",
    [
        "x = requests[0].inputs()[0].as_numpy()",
        "x = pb_utils.Tensor.from_dlpack('X', requests[0].inputs()[0]).as_numpy()",
        "x = np.zeros(2, np.float32)",
    ],
)
def test_a_response_is_what_was_sent(run_execute, change):
    peer = run_execute(
        f"""
        sender = requests[0].get_response_sender()
        {change}
        for _ in range(4):
            x += 1
            sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("OUT", x)]))
        sender.send(flags={FINAL})
        """,
        True,
    )
    peer.start([Request({"IN": np.zeros(2, np.float32)})])
    peer.executed()
    assert [peer.response()["OUT"].tolist() for _ in range(4)] == [[n, n] for n in (1, 2, 3, 4)]


def test_an_input_that_is_sent_is_not_copied_and_stays_as_it_is(run_execute):
    peer = run_execute(
        f"""
        sender = requests[0].get_response_sender()
        tensor = requests[0].inputs()[0]
        sender.send(pb_utils.InferenceResponse([tensor]))
        array = tensor.as_numpy()
        array += 1
        sender.send(pb_utils.InferenceResponse([tensor]), {FINAL})
        """,
        True,
    )
    peer.start([Request({"IN": np.zeros(2, np.float32)})])
    peer.executed()
    first, second = peer.response(), peer.response()
    assert first.outputs["IN"].segment == peer.input_segment
    assert [answer["IN"].tolist() for answer in (first, second)] == [[0, 0], [1, 1]]


def test_the_last_response_may_carry_the_final_flag(run_execute):
    peer = run_execute(
        f"requests[0].get_response_sender().send(pb_utils.InferenceResponse(), {FINAL})", True
    )
    peer.start([Request()])
    answer = peer.response()
    assert (answer.kind, answer.flags) == (1, 1)


def test_a_thread_answers_after_execute_has_returned(run_model):
    peer = run_model(
        """
        import threading
        class TritonPythonModel:
            waiting = []
            def execute(self, requests):
                if requests[0].request_id() == "first":
                    self.sender = requests[0].get_response_sender()
                else:
                    threading.Thread(target=self.answer, args=(requests[0],)).start()
            def answer(self, request):
                for sender in (self.sender, request.get_response_sender()):
                    sender.send(pb_utils.InferenceResponse(), 1)
        """,
        True,
    )
    first, second = Request(id="first"), Request(id="second")
    peer.start([first])
    peer.executed()
    peer.start([second])
    assert [peer.response().handle for _ in range(2)] == [first.handle, second.handle]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (f"s.send(flags={FINAL}); s.send(pb_utils.InferenceResponse())", "has been closed"),
        ("s.send()", "send() needs a response, or the final flag"),
        ("s.send('text')", "response is of type str"),
        ("s.send(pb_utils.InferenceResponse(), 4)", "response flags 4"),
        (
            "s.send(pb_utils.InferenceResponse([pb_utils.Tensor('\\ud800', np.ones(1))]))",
            "the response cannot be sent",
        ),
        ("return []", "execute of a decoupled model returned list, expected None"),
    ],
)
def test_wrong_use_of_a_sender_fails_the_execution(run_execute, code, text):
    peer = run_execute(f"s = requests[0].get_response_sender()\n{code}", True)
    peer.start([Request()])
    code, message = peer.executed()
    assert code == 1
    assert text in message


def test_an_exception_closes_the_senders(run_model):
    peer = run_model(
        """
        class TritonPythonModel:
            old = None
            def execute(self, requests):
                if self.old is not None:
                    self.old.send(pb_utils.InferenceResponse())
                self.old = requests[0].get_response_sender()
                raise ValueError("first")
        """,
        True,
    )
    peer.start([Request()])
    assert "ValueError: first" in peer.executed()[1]
    peer.start([Request()])
    assert "has been closed" in peer.executed()[1]
    assert not [kind for kind, _ in peer.packets if kind == "RESPONSE"]


def test_an_exception_of_a_coroutine_fails_the_requests_that_are_open(run_execute):
    peer = run_execute(
        f"requests[0].get_response_sender().send(flags={FINAL})\nraise ValueError('late')",
        True,
        head="async def execute",
    )
    first, second = Request(), Request()
    peer.start([first, second])
    answers = [peer.response(), peer.response()]
    assert [(a.handle, a.kind, a.flags) for a in answers] == [
        (first.handle, 0, 1), (second.handle, 2, 1),
    ]  # fmt: skip
    assert "ValueError: late" in answers[1].message


def test_a_dropped_sender_fails_its_request(run_execute):
    peer = run_execute("requests[0].get_response_sender().send(pb_utils.InferenceResponse())", True)
    sent, never_asked = Request(), Request()
    peer.start([sent, never_asked])
    assert peer.response().kind == 1
    answers = {(a.handle, a.kind, a.flags, a.message) for a in (peer.response(), peer.response())}
    text = "the model dropped its response sender without sending a final response"
    assert answers == {(sent.handle, 2, 1, text), (never_asked.handle, 2, 1, text)}


def test_a_rescheduled_request_is_given_back(run_execute):
    peer = run_execute(
        "requests[0].set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)", True
    )
    peer.start([Request()])
    answer = peer.response()
    assert (answer.kind, answer.flags) == (0, 2)
    assert peer.executed() == (-1, "")


def test_a_cancellation_is_seen_while_execute_runs(run_execute):
    peer = run_execute(
        """
        r = requests[0]
        sender = r.get_response_sender()
        sender.send(pb_utils.InferenceResponse())
        while not sender.is_cancelled():
            pass
        assert r.is_cancelled() and not requests[1].is_cancelled()
        for request in requests:
            request.get_response_sender().send(flags=1)
        """,
        True,
    )
    request = Request()
    peer.start([request, Request()])
    peer.response()
    peer.cancel(12345, request.handle)
    assert peer.executed() == (-1, "")


def test_a_cancellation_is_seen_by_a_thread_while_the_worker_is_idle(run_model):
    peer = run_model(
        """
        import threading
        class TritonPythonModel:
            def execute(self, requests):
                threading.Thread(target=self.run, args=(requests[0].get_response_sender(),)).start()
            def run(self, sender):
                while not sender.is_cancelled():
                    pass
                error = pb_utils.TritonError("stopped", pb_utils.TritonError.CANCELLED)
                sender.send(pb_utils.InferenceResponse(error=error), 1)
        """,
        True,
    )
    request = Request()
    peer.start([request])
    peer.executed()
    peer.cancel(request.handle)
    answer = peer.response()
    assert (answer.code, answer.message, answer.flags) == (7, "stopped", 1)


@pytest.mark.parametrize("decoupled", [False, True])
def test_a_cancellation_that_comes_before_the_execution_is_seen(run_execute, decoupled):
    peer = run_execute(
        """
        import time
        sender = requests[0].get_response_sender()
        while requests[0].request_id() == "first" and not sender.is_cancelled():
            time.sleep(0.001)
        response = pb_utils.InferenceResponse(parameters={"c": requests[0].is_cancelled()})
        sender.send(response, 1)
        """,
        decoupled,
    )
    first, second, third = Request(id="first"), Request(), Request()
    executions = [peer.start([request]) for request in (first, second, third)]
    peer.cancel(second.handle)
    peer.cancel(first.handle)
    answers = [
        peer.response() if decoupled else peer.responses(execution)[0] for execution in executions
    ]
    assert [answer.parameters for answer in answers] == ['{"c": true}'] * 2 + ['{"c": false}']


def test_coroutines_of_two_batches_run_side_by_side(run_model):
    peer = run_model(
        """
        import asyncio
        class TritonPythonModel:
            def initialize(self, args):
                self.second = asyncio.Event()
            async def execute(self, requests):
                if requests[0].request_id() == "second":
                    self.second.set()
                await self.second.wait()
                requests[0].get_response_sender().send(flags=1)
        """,
        True,
    )
    peer.start([Request(id="first")])
    assert peer.executed() == (-1, "")
    peer.start([Request(id="second")])
    assert [peer.response().flags for _ in range(2)] == [1, 1]


def test_ten_threads_send_at_once(run_execute):
    peer = run_execute(
        """
        import threading
        sender = requests[0].get_response_sender()
        def send(base):
            for at in range(100):
                output = pb_utils.Tensor("OUT", np.array([base + at]))
                sender.send(pb_utils.InferenceResponse([output]))
        threads = [threading.Thread(target=send, args=(100 * n,)) for n in range(10)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        sender.send(flags=1)
        """,
        True,
    )
    peer.start([Request()])
    values = [int(peer.response()["OUT"][0]) for _ in range(1000)]
    assert sorted(values) == list(range(1000))
    assert peer.response().flags == 1
