"""Readers of decoupled responses that do not keep up: HOLD and GO_ON."""

import pytest

from tests.python.python_backend.worker_peer import Request

# Of three requests, two are answered; the third one's cancellation says when to go on.
PLAIN = """
class TritonPythonModel:
    sent = 0

    def execute(self, requests):
        if requests[0].request_id() == "ask":
            output = pb_utils.Tensor("SENT", np.array([self.sent]))
            sender = requests[0].get_response_sender()
            sender.send(pb_utils.InferenceResponse([output]), 1)
            return
        self.run(requests)

    def run(self, requests):
        senders = [r.get_response_sender() for r in requests]
        self.send(0, senders)
        while not senders[2].is_cancelled(): pass
        for at in range(1, 100):
            self.send(at, senders)
        for sender in senders: sender.send(flags=1)

    def send(self, at, senders):
        for sender in senders[:2]:
            output = pb_utils.Tensor("OUT", np.array([at]))
            sender.send(pb_utils.InferenceResponse([output]))
        self.sent = at
"""
THREAD = PLAIN.replace(
    "self.run(requests)\n\n",
    "import threading\n        threading.Thread(target=self.run, args=(requests,)).start()\n\n",
)
ASYNC = (
    PLAIN.replace("def execute", "async def execute")
    .replace("self.run(requests)\n\n", "await self.run(requests)\n\n")
    .replace("def run", "async def run")
    .replace("is_cancelled(): pass", "is_cancelled(): await __import__('asyncio').sleep(0)")
)
SMALL = "import fastserve_worker.backlog as backlog\nbacklog.{limit} = 20_000\n"


RESCHEDULING = """
class TritonPythonModel:
    def execute(self, requests):
        sender = requests[0].get_response_sender()
        sender.send(pb_utils.InferenceResponse())
        while not requests[1].is_cancelled(): pass
        sender.send(pb_utils.InferenceResponse())
        requests[0].set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
        requests[1].get_response_sender().send(flags=1)
"""


def test_a_rescheduled_request_goes_back_when_its_reader_has_caught_up(run_model):
    peer = run_model(RESCHEDULING, True)
    slow, gate = Request(), Request()
    peer.start([slow, gate])
    assert peer.response().handle == slow.handle
    peer.hold(slow.handle)
    peer.cancel(gate.handle)
    assert peer.response().handle == gate.handle
    assert peer.check_ready() == (True, "")
    assert not [kind for kind, _ in peer.packets if kind in ("RESPONSE", "EXECUTED")]
    peer.go_on(slow.handle)
    assert [(peer.response().handle, flags) for flags in (0, 2)] == [
        (slow.handle, 0),
        (slow.handle, 2),
    ]
    assert "EXECUTED" not in [kind for kind, _ in peer.packets]
    assert peer.executed() == (-1, "")


class Case:
    """Two streams whose model has sent one response each; the first one's reader is slow."""

    def __init__(self, peer) -> None:
        self.peer = peer
        self.slow, self.fast, self.gate = Request(), Request(), Request()
        peer.start([self.slow, self.fast, self.gate])
        assert [peer.response()["OUT"].tolist() for _ in range(2)] == [[0], [0]]
        peer.hold(self.slow.handle)
        peer.cancel(self.gate.handle)

    def rest(self, request: Request) -> list:
        """What comes until that request's end; nothing of the slow one if it is another's."""
        values = []
        while True:
            answer = self.peer.response()
            if answer.handle == self.gate.handle:
                continue
            assert answer.handle == request.handle
            if answer.kind == 1:
                values.append(int(answer["OUT"][0]))
            if answer.flags:
                return [*values, answer.message]


@pytest.mark.parametrize("source", [PLAIN, THREAD, ASYNC])
def test_a_slow_reader_slows_its_own_stream_only(run_model, source):
    case = Case(run_model(source, True))
    assert case.rest(case.fast) == [*range(1, 100), ""]
    case.peer.go_on(case.slow.handle)
    assert case.rest(case.slow) == [*range(1, 100), ""]


def test_responses_keep_their_order_while_the_reader_comes_and_goes(run_model):
    case = Case(run_model(THREAD, True))
    for _ in range(20):
        case.peer.go_on(case.slow.handle)
        case.peer.hold(case.slow.handle)
    case.peer.go_on(case.slow.handle)
    values = {case.slow.handle: [], case.fast.handle: [], case.gate.handle: []}
    ended = 0
    while ended < 3:
        answer = case.peer.response()
        if answer.kind == 1:
            values[answer.handle].append(int(answer["OUT"][0]))
        ended += answer.flags
    assert values[case.slow.handle] == values[case.fast.handle] == [*range(1, 100)]


def test_a_response_that_waits_is_what_was_sent(run_model):
    source = PLAIN.replace("np.array([at])", "self.array").replace(
        "def send(self, at, senders):", "array = np.zeros(1)\n\n    def send(self, at, senders):\n"
        "        self.array[0] = at"
    )  # fmt: skip
    case = Case(run_model(source, True))
    assert case.rest(case.fast) == [*range(1, 100), ""]
    case.peer.go_on(case.slow.handle)
    assert case.rest(case.slow) == [*range(1, 100), ""]


@pytest.mark.parametrize("limit", ["REQUEST_BYTES", "WORKER_BYTES"])
def test_a_thread_waits_at_the_limit(run_model, limit):
    case = Case(run_model(SMALL.format(limit=limit) + THREAD, True))
    peer, sent = case.peer, -1
    while sent < 20:
        peer.start([Request(id="ask")])
        answer = peer.response()
        while "SENT" not in answer.outputs:
            assert answer.handle != case.slow.handle
            answer = peer.response()
        sent = int(answer["SENT"][0])
    assert sent == 20
    peer.go_on(case.slow.handle)
    values = {case.slow.handle: [], case.fast.handle: [], case.gate.handle: []}
    ended = 0
    while ended < 3:
        answer = peer.response()
        if answer.kind == 1:
            values[answer.handle].append(int(answer["OUT"][0]))
        ended += answer.flags
    assert values[case.slow.handle] == [*range(1, 100)]


def test_a_plain_execute_waits_at_the_limit(run_model):
    case = Case(run_model(SMALL.format(limit="REQUEST_BYTES") + PLAIN, True))
    values = [case.peer.response() for _ in range(20)]
    assert {answer.handle for answer in values} == {case.fast.handle}
    case.peer.go_on(case.slow.handle)
    assert case.peer.executed() == (-1, "")


def test_a_coroutine_fails_at_the_limit_after_what_waits(run_model):
    case = Case(run_model(SMALL.format(limit="REQUEST_BYTES") + ASYNC, True))
    *values, message = case.rest(case.fast)
    assert values == [*range(1, 21)]
    assert "the reader of the request does not keep up: 20 responses" in message
    case.peer.go_on(case.slow.handle)
    *values, message = case.rest(case.slow)
    assert values == [*range(1, 21)]
    assert "the reader of the request does not keep up" in message


# The response that waits is given up for an error.
GIVES_UP = """
import asyncio


class TritonPythonModel:
    async def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            sender.send(self.response())
            if request.request_id() == "slow":
                while not requests[-1].is_cancelled():
                    await asyncio.sleep(0)
                sender.send(self.response())
                late = asyncio.ensure_future(asyncio.to_thread(sender.send, self.response()))
                await asyncio.wait([late], timeout=0.1)
                sender.send(pb_utils.InferenceResponse(error=pb_utils.TritonError("too slow")), 1)
                try:
                    await late
                except pb_utils.TritonModelException as closed:
                    assert "has been closed" in str(closed)
                    self.response = lambda: pb_utils.InferenceResponse(parameters={"closed": True})
            else:
                sender.send(flags=1)

    def response(self):
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.zeros(20_000, np.int8))])
"""


def test_an_error_does_not_wait_behind_a_response_that_waits(run_model):
    peer = run_model(SMALL.format(limit="REQUEST_BYTES") + GIVES_UP, True)
    slow, gate = Request(id="slow"), Request()
    peer.start([slow, gate])
    assert peer.response().handle == slow.handle
    peer.hold(slow.handle)
    peer.cancel(gate.handle)
    answer = peer.response()
    assert (answer.handle, answer.parameters) == (gate.handle, '{"closed": true}')
    assert peer.response().flags == 1
    peer.go_on(slow.handle)
    assert [peer.response().message for _ in range(2)] == ["", "too slow"]


def test_an_exception_comes_after_what_waits(run_model):
    source = PLAIN.replace("for sender in senders: sender.send(flags=1)", "raise ValueError('x')")
    case = Case(run_model(source, True))
    *values, message = case.rest(case.fast)
    assert values == [*range(1, 100)]
    assert "ValueError: x" in message
    case.peer.go_on(case.slow.handle)
    *values, message = case.rest(case.slow)
    assert values == [*range(1, 100)]
    assert "ValueError: x" in message
    assert case.peer.executed() == (-1, "")


def test_a_response_that_waited_and_cannot_be_sent_ends_its_request(run_model):
    source = PLAIN.replace(
        "for sender in senders: sender.send(flags=1)",
        """
        import fastserve_worker.wire as wire
        pack = wire.pack_response
        def fail(*arguments):
            if type(arguments[3]) is not bytes: raise MemoryError("full")
            return pack(*arguments)
        wire.pack_response = fail
        for sender in senders[1:]: sender.send(flags=1)
        while not requests[0].is_cancelled(): pass
        try:
            senders[0].send(pb_utils.InferenceResponse())
        except pb_utils.TritonModelException as error:
            print(error)
        senders[0].send(flags=1)
        """,
    )
    case = Case(run_model(source, True))
    assert case.rest(case.fast) == [*range(1, 100), ""]
    case.peer.go_on(case.slow.handle)
    (message,) = case.rest(case.slow)
    assert message == "the response cannot be sent: full"
    case.peer.cancel(case.slow.handle)
    assert case.peer.process.stdout.readline() == b"the response cannot be sent: full\n"
    assert case.peer.executed() == (-1, "")
    assert not [kind for kind, _ in case.peer.packets if kind == "RESPONSE"]
