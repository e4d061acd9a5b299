"""Models that are not decoupled and answer through response senders, after `execute` too."""

import numpy as np
import pytest

from tests.python.python_backend.worker_peer import Request

HEADS = ["def execute", "async def execute"]
# The first batch is answered when the second one is executed.
KEEPS_THE_FIRST = """
        senders = [r.get_response_sender() for r in requests]
        if not hasattr(self, "kept"):
            self.kept = senders
            return None
        for at, sender in enumerate(self.kept + senders):
            output = pb_utils.Tensor("OUT", np.array([at]))
            sender.send(pb_utils.InferenceResponse([output]), 1)
"""
# A thread answers when the requests are cancelled.
LEAVES_IT_TO_A_THREAD = """
        import threading
        requests = list(requests)
        def answer():
            senders = [r.get_response_sender() for r in requests]
            started.set()
            while not senders[0].is_cancelled(): pass
            for at, sender in enumerate(senders):
                output = pb_utils.Tensor("OUT", requests[at].inputs()[0].as_numpy() + 1)
                sender.send(pb_utils.InferenceResponse([output]), 1)
        started = threading.Event()
        threading.Thread(target=answer).start()
        started.wait()
"""


@pytest.mark.parametrize("head", HEADS)
def test_the_next_batch_does_not_wait_for_the_senders_of_the_last(run_execute, head):
    peer = run_execute(KEEPS_THE_FIRST, head=head)
    first = peer.start([Request(), Request()])
    second = peer.start([Request()])
    answers = {execution: peer.responses(execution) for execution in (first, second)}
    assert [answer["OUT"].tolist() for answer in answers[first]] == [[0], [1]]
    assert [answer["OUT"].tolist() for answer in answers[second]] == [[2]]
    assert peer.finalize() == 0


@pytest.mark.parametrize("head", HEADS)
def test_a_thread_answers_when_execute_has_returned(run_execute, head):
    peer = run_execute(LEAVES_IT_TO_A_THREAD, head=head)
    for _ in range(3):
        requests = [Request({"IN": np.array([at])}) for at in range(2)]
        execution = peer.start(requests)
        assert peer.check_ready() == (True, "")
        peer.cancel(*[request.handle for request in requests])
        answers = peer.responses(execution)
        assert [answer["OUT"].tolist() for answer in answers] == [[1], [2]]


@pytest.mark.parametrize("head", HEADS)
def test_what_is_not_returned_is_sent(run_execute, head):
    peer = run_execute(
        """
        sent = requests[0].get_response_sender()
        sent.send(pb_utils.InferenceResponse(parameters={"a": 1}), 1)
        self.unused = requests[1].get_response_sender()
        self.later = requests[2].get_response_sender()
        import threading
        response = pb_utils.InferenceResponse(parameters={"a": 3})
        threading.Timer(0.05, self.later.send, (response, 1)).start()
        return [None, pb_utils.InferenceResponse(parameters={"a": 2}), None, None]
        """,
        head=head,
    )
    answers = peer.execute(*[Request() for _ in range(4)])
    assert [answer.parameters for answer in answers[:3]] == [f'{{"a": {n}}}' for n in (1, 2, 3)]
    assert "returned None" in answers[3].message


def test_a_request_may_be_rescheduled_though_its_sender_was_asked_for(run_execute):
    peer = run_execute("""
        self.kept = [request.get_response_sender() for request in requests]
        if requests[0].request_id() == "drop":
            self.kept = None
        requests[0].set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
        if requests[0].request_id() == "none":
            self.kept[1].send(pb_utils.InferenceResponse(), 1)
            return None
        return [None, pb_utils.InferenceResponse()]
    """)
    for name in ("keep", "drop", "none"):
        answers = peer.execute(Request(id=name), Request())
        assert [answer.kind for answer in answers] == [0, 1]


def test_a_wrong_result_closes_the_senders(run_execute):
    peer = run_execute("""
        self.sender = getattr(self, "sender", None) or requests[0].get_response_sender()
        if requests[0].request_id() == "again":
            self.sender.send(flags=1)
        return [pb_utils.InferenceResponse()] * 5
    """)
    assert "5 responses for 1 requests" in peer.execute(Request())[0].message
    assert "has been closed" in peer.execute(Request(id="again"))[0].message


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(
    "change", ["requests.clear()", "requests.pop()", "requests[0] = None", "requests.append(1)"]
)
def test_a_model_may_change_the_list_it_is_given(run_execute, head, change):
    peer = run_execute(f"count = len(requests)\n{change}\nreturn [None] * count", head=head)
    for _ in range(2):
        answers = peer.execute(Request(), Request())
        assert ["returned None" in answer.message for answer in answers] == [True, True]


@pytest.mark.parametrize("head", HEADS)
def test_a_decoupled_model_may_change_the_list_it_is_given(run_execute, head):
    peer = run_execute("requests.clear()\nraise ValueError('bad')", True, head=head)
    for _ in range(2):
        peer.start([Request(), Request()])
        if head == "def execute":
            code, message = peer.executed()
            assert (code, "ValueError: bad" in message) == (1, True)
            continue
        assert peer.executed() == (-1, "")
        assert ["ValueError: bad" in peer.response().message for _ in range(2)] == [True, True]
