"""Executions of models that return their responses."""

import json

import numpy as np
import pytest

from tests.python.python_backend.worker_peer import Request

IDENTITY = """
class TritonPythonModel:
    def execute(self, requests):
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor("OUT", pb_utils.get_input_tensor_by_name(r, "IN").as_numpy())]
            )
            for r in requests
        ]
"""


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_each_request_of_a_batch_gets_its_own_response(run_model):
    peer = run_model(IDENTITY)
    answers = peer.execute(*[Request({"IN": floats(i, i + 1)}) for i in range(64)])
    assert [answer["OUT"].tolist() for answer in answers] == [[i, i + 1] for i in range(64)]


def test_a_returned_input_is_not_copied(run_model):
    peer = run_model(IDENTITY)
    (answer,) = peer.execute(Request({"IN": floats(*range(100_000))}))
    assert answer.outputs["OUT"].segment == peer.input_segment
    assert answer["OUT"].sum() == floats(*range(100_000)).sum()


def test_a_part_of_an_input_is_not_copied(run_execute):
    peer = run_execute("""
        array = requests[0].inputs()[0].as_numpy()
        outputs = [pb_utils.Tensor("ROW", array[1]), pb_utils.Tensor("COLUMN", array[:, 1])]
        return [pb_utils.InferenceResponse(outputs)]
    """)
    (answer,) = peer.execute(Request({"IN": np.arange(48, dtype=np.float32).reshape(3, 16)}))
    row = answer.outputs["ROW"]
    assert (row.segment, row.offset) == (peer.input_segment, 64)
    assert answer.outputs["COLUMN"].segment != peer.input_segment
    assert answer["COLUMN"].tolist() == [1, 17, 33]


@pytest.mark.parametrize("head", ["def execute", "async def execute"])
@pytest.mark.parametrize(
    "keep",
    [
        "self.kept = array",
        "self.kept = array[1:]",
        "self.kept = requests[0].inputs()[0].as_numpy()",
        "self.kept = memoryview(array)",
        "self.requests = requests; self.kept = array",
        "self.kept = pb_utils.Tensor.from_dlpack('K', requests[0].inputs()[0]).as_numpy()",
    ],
)
def test_what_a_model_keeps_of_an_input_is_not_what_it_returned(run_execute, head, keep):
    peer = run_execute(
        f"""
        if hasattr(self, "kept"):
            np.asarray(self.kept)[:] = 7
        array = requests[0].inputs()[0].as_numpy()
        {keep}
        own = pb_utils.Tensor("OWN", np.full(3, 5.0))
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array), own])]
        """,
        head=head,
    )
    first = peer.start([Request({"IN": floats(1, 2, 3)})])
    packets = [peer.receive("RESPONSES")]
    second = peer.start([Request({"IN": floats(4, 5, 6)})])
    packets.append(peer.receive("RESPONSES"))
    for execution, packet, expected in zip(
        (first, second), packets, ([1, 2, 3], [4, 5, 6]), strict=True
    ):
        peer.packets.append(("RESPONSES", packet))
        (answer,) = peer.responses(execution)
        assert answer["OUT"].tolist() == expected
        assert answer["OWN"].tolist() == [5, 5, 5]


def test_what_a_model_returns_of_an_earlier_input_is_copied(run_execute):
    peer = run_execute("""
        self.kept = getattr(self, "kept", requests[0].inputs()[0].as_numpy())
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", self.kept)])]
    """)
    for _ in range(3):
        (answer,) = peer.execute(Request({"IN": floats(1, 2)}))
        assert answer["OUT"].tolist() == [1, 2]
        assert answer.outputs["OUT"].segment in peer.segments


def test_a_block_whose_input_is_returned_is_released_after_the_answer(run_model):
    peer = run_model(IDENTITY)
    big = np.zeros(2 << 20, np.uint8)
    peer.start([Request({"IN": big})])
    kind, _ = peer._next()
    assert (kind, peer.released) == ("RESPONSES", set())
    peer.execute(Request({"IN": big}))
    assert len(peer.released) == 1


def test_a_block_is_released_when_its_last_array_is_gone(run_model):
    peer = run_model("""
    class TritonPythonModel:
        kept = []
        def execute(self, requests):
            if len(self.kept) == 2:
                self.kept.clear()
            self.kept.append(requests[0].inputs()[0].as_numpy())
            return [pb_utils.InferenceResponse()]
    """)
    big = np.zeros(2 << 20, np.uint8)
    for _ in range(2):
        peer.execute(Request({"IN": big}))
    kept = set(peer.lent)
    assert not peer.released
    peer.execute(Request({"IN": big}))
    peer.execute(Request({"IN": big}))
    assert peer.released == kept


def test_many_small_releases_travel_together(run_model):
    peer = run_model(IDENTITY)
    for value in range(40):
        peer.execute(Request({"IN": floats(value)}))
    assert 16 <= len(peer.released) <= 40


def test_a_block_that_the_server_released_is_used_again(run_execute):
    peer = run_execute("""
        output = pb_utils.Tensor("OUT", np.ones(300_000))
        return [pb_utils.InferenceResponse([output])]
    """)
    places = set()
    for _ in range(5):
        (answer,) = peer.execute(Request())
        places.add((answer.outputs["OUT"].segment, answer.outputs["OUT"].offset))
    assert len(places) == 1
    assert len(peer.segments) == 1


NUMERIC = ["?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"]


@pytest.mark.parametrize("kind", NUMERIC)
def test_numeric_types_pass_both_ways(run_model, kind):
    peer = run_model(IDENTITY)
    array = np.array([[0, 1], [1, 0]]).astype(kind)
    (answer,) = peer.execute(Request({"IN": array}))
    assert answer["OUT"].dtype == array.dtype
    assert answer["OUT"].tolist() == array.tolist()


@pytest.mark.parametrize("pure_python", [False, True])
def test_strings_pass_both_ways(run_execute, pure_python, monkeypatch):
    monkeypatch.setenv("FASTSERVE_WORKER_PURE_PYTHON", "1" if pure_python else "")
    peer = run_execute("""
        array = requests[0].inputs()[0].as_numpy()
        assert array.dtype == object and type(array[0, 0]) is bytes
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array[:, ::-1])])]
    """)
    strings = np.array([[b"", b"a\0b", b"\xff\xfe"], ["é".encode(), b"x" * 70_000, b"\0"]], object)
    (answer,) = peer.execute(Request({"IN": strings}))
    assert answer["OUT"].tolist() == strings[:, ::-1].tolist()


def test_strings_are_sent_as_utf8_whatever_they_are_made_of(run_execute):
    peer = run_execute("""
        outputs = [
            pb_utils.Tensor("OBJECT", np.array(["é", b"\\xff", 7, None], dtype=object)),
            pb_utils.Tensor("STR", np.array([["é", ""]])),
            pb_utils.Tensor("BYTES", np.array([b"ab", b"c"])),
        ]
        return [pb_utils.InferenceResponse(outputs)]
    """)
    (answer,) = peer.execute(Request())
    assert answer["OBJECT"].tolist() == ["é".encode(), b"\xff", b"7", b"None"]
    assert answer["STR"].tolist() == [["é".encode(), b""]]
    assert answer["BYTES"].tolist() == [b"ab", b"c"]
    assert answer.outputs["STR"].type == 13


@pytest.mark.parametrize("pure_python", [False, True])
def test_string_lengths_that_do_not_add_up_fail_the_request(run_model, pure_python, monkeypatch):
    monkeypatch.setenv("FASTSERVE_WORKER_PURE_PYTHON", "1" if pure_python else "")
    peer = run_model(IDENTITY)
    for count, data, text in (
        (1, b"\xff\xff\xff\xff", "string 0 has length 4294967295, but 0 bytes follow"),
        (2, b"\1\0\0\0a" + bytes(3), "string 1 has 3 bytes of its length"),
        (1, b"\0\0", "1 strings do not fit into 2 bytes"),
        (1, b"", "1 strings do not fit into 0 bytes"),
        (1 << 60, b"\0\0\0\0", "do not fit into 4 bytes"),
        (1, bytes(8), "4 bytes follow the last of 1 strings"),
    ):
        (answer,) = peer.execute(Request({"IN": (13, (count,), data)}))
        assert text in answer.message


def test_empty_tensors_pass_both_ways(run_model):
    peer = run_model(IDENTITY)
    for array in (np.empty((0, 3), np.float32), np.empty((2, 0), object)):
        (answer,) = peer.execute(Request({"IN": array}))
        assert answer["OUT"].shape == array.shape


def test_other_byte_orders_and_strides_are_sent_as_the_server_expects(run_execute):
    peer = run_execute("""
        array = np.arange(6, dtype=">i4").reshape(2, 3).T
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array)])]
    """)
    (answer,) = peer.execute(Request())
    assert answer["OUT"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_only_requested_outputs_are_sent(run_execute):
    peer = run_execute("""
        outputs = [pb_utils.Tensor(name, np.ones(1)) for name in "ABC"]
        names = np.array(requests[0].requested_output_names(), object)
        return [pb_utils.InferenceResponse([*outputs, pb_utils.Tensor("NAMES", names)])]
    """)
    (answer,) = peer.execute(Request(requested=("B", "NAMES")))
    assert list(answer.outputs) == ["B", "NAMES"]
    assert answer["NAMES"].tolist() == [b"B", b"NAMES"]


def test_a_request_tells_what_the_client_sent(run_execute):
    peer = run_execute("""
        import json
        r = requests[0]
        told = [r.request_id(), r.correlation_id(), r.flags(), r.timeout(),
                json.loads(r.parameters()), r.trace().get_context(), r.is_cancelled(),
                r.model_name(), r.model_version()]
        return [pb_utils.InferenceResponse(parameters={"told": json.dumps(told)})]
    """)
    for correlation in (7, 2**64 - 1, "séquence"):
        request = Request({}, "id\0\u00e9", 3, 250, correlation, '{"k": [1, "v"]}', "00-trace")
        (answer,) = peer.execute(request)
        (told,) = json.loads(answer.parameters).values()
        assert json.loads(told) == [
            "id\0é", correlation, 3, 250, {"k": [1, "v"]}, "00-trace", False, "model", 1,
        ]  # fmt: skip


def test_a_request_without_parameters_has_an_empty_object(run_execute):
    peer = run_execute("""
        return [pb_utils.InferenceResponse(parameters={"p": requests[0].parameters()})]
    """)
    (answer,) = peer.execute(Request())
    assert json.loads(answer.parameters) == {"p": "{}"}


def test_response_parameters_keep_their_types(run_execute):
    peer = run_execute("""
        return [pb_utils.InferenceResponse(parameters={"s": "x", "i": -1, "b": True, "f": 0.5})]
    """)
    (answer,) = peer.execute(Request())
    assert json.loads(answer.parameters) == {"s": "x", "i": -1, "b": True, "f": 0.5}


def test_a_rescheduled_request_is_answered_with_nothing(run_execute):
    peer = run_execute("""
        requests[0].set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
        return [None, pb_utils.InferenceResponse()]
    """)
    first, second = peer.execute(Request(), Request())
    assert (first.kind, second.kind) == (0, 1)


def test_a_model_that_is_not_decoupled_may_answer_through_senders(run_execute):
    peer = run_execute("""
        import threading
        senders = [r.get_response_sender() for r in requests]
        def answer():
            for at, sender in enumerate(senders):
                output = pb_utils.Tensor("OUT", np.array([at]))
                sender.send(pb_utils.InferenceResponse([output]))
                sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        threading.Thread(target=answer).start()
        return None
    """)
    answers = peer.execute(Request(), Request())
    assert [answer["OUT"].tolist() for answer in answers] == [[0], [1]]


def test_a_response_of_a_sender_is_what_was_sent(run_execute):
    peer = run_execute("""
        array = requests[0].inputs()[0].as_numpy()
        for r in requests:
            array += 1
            output = pb_utils.Tensor("OUT", array)
            r.get_response_sender().send(pb_utils.InferenceResponse([output]), 1)
    """)
    answers = peer.execute(*[Request({"IN": floats(0, 1)}) for _ in range(3)])
    assert [answer["OUT"].tolist() for answer in answers] == [[1, 2], [2, 3], [3, 4]]


@pytest.mark.parametrize("head", ["def execute", "async def execute"])
def test_a_dropped_sender_of_a_model_that_is_not_decoupled_fails_its_request(run_execute, head):
    peer = run_execute(
        """
        senders = [r.get_response_sender() for r in requests[:3]]
        senders[0].send(pb_utils.InferenceResponse(), 1)
        senders[1].send(pb_utils.InferenceResponse())
        """,
        head=head,
    )
    answers = peer.execute(Request(), Request(), Request(), Request())
    assert [answer.kind for answer in answers] == [1, 2, 2, 2]
    dropped = "the model dropped its response sender without sending a final response"
    assert [answer.message for answer in answers[1:3]] == [dropped] * 2
    assert "returned None" in answers[3].message


def test_a_sender_that_was_dropped_or_comes_too_late_is_closed(run_execute):
    peer = run_execute("""
        if hasattr(self, "late"):
            self.late.send(pb_utils.InferenceResponse(), 1)
        requests[0].get_response_sender()
        self.late = requests[0].get_response_sender()
    """)
    (answer,) = peer.execute(Request())
    assert "dropped its response sender" in answer.message
    (answer,) = peer.execute(Request())
    assert "has been closed" in answer.message


def test_a_batch_above_64_kib_of_names_goes_out_of_line(run_execute):
    peer = run_execute("""
        return [pb_utils.InferenceResponse(parameters={"id": r.request_id()}) for r in requests]
    """)
    answers = peer.execute(*[Request(id=str(i) * 30_000) for i in range(4)])
    assert [json.loads(a.parameters)["id"] for a in answers] == [str(i) * 30_000 for i in range(4)]


WRAPPED = """
import asyncio, functools

def counted(function):
    @functools.wraps(function)
    def call(self, requests):
        self.calls = getattr(self, "calls", 0) + 1
        return function(self, requests)
    return call

class TritonPythonModel:
    calls = 0

    @counted
    async def execute(self, requests):
        await asyncio.sleep(0)
        if requests[0].request_id() == "bad":
            raise ValueError("bad")
        answer = await pb_utils.InferenceRequest(model_name="x").async_exec()
        {answer}
"""


@pytest.mark.parametrize("batches", [1, 3])
def test_a_coroutine_that_a_plain_execute_returns_is_awaited(run_model, batches):
    peer = run_model(
        WRAPPED.format(
            answer="return [pb_utils.InferenceResponse(parameters={'calls': self.calls})]"
        )
    )
    requests = [Request() for _ in range(batches)]
    executions = [peer.start([request]) for request in requests]
    for request in requests:
        call = peer.bls_request()
        assert call.callers == [request.handle]
        peer.bls_respond(call.call)
    for calls, execution in enumerate(executions, 1):
        (answer,) = peer.responses(execution)
        assert json.loads(answer.parameters) == {"calls": calls}
    assert "ValueError: bad" in peer.execute(Request(id="bad"))[0].message
    assert peer.finalize() == 0


def test_coroutines_of_a_model_that_is_not_decoupled_run_one_by_one(run_execute):
    peer = run_execute(
        """
        self.id = requests[0].request_id()
        await pb_utils.InferenceRequest(model_name="x").async_exec()
        return [pb_utils.InferenceResponse(parameters={"id": self.id})]
        """,
        head="async def execute",
    )
    executions = [peer.start([Request(id=name)]) for name in "abc"]
    for name, execution in zip("abc", executions, strict=True):
        peer.bls_respond(peer.bls_request().call)
        assert json.loads(peer.responses(execution)[0].parameters) == {"id": name}
    assert peer.finalize() == 0


def test_a_coroutine_that_a_decoupled_execute_returns_is_awaited(run_model):
    peer = run_model(
        WRAPPED.format(
            answer="requests[0].get_response_sender().send(pb_utils.InferenceResponse(), 1)"
        ),
        True,
    )
    for _ in range(2):
        peer.start([Request()])
        assert peer.executed() == (-1, "")
        peer.bls_respond(peer.bls_request().call)
        answer = peer.response()
        assert (answer.kind, answer.flags) == (1, 1)
    peer.start([Request(id="bad")])
    assert "ValueError: bad" in peer.response().message
    assert peer.finalize() == 0


def test_execute_may_return_a_coroutine_now_and_a_list_then(run_execute):
    peer = run_execute("""
        async def answer():
            return [pb_utils.InferenceResponse(parameters={"by": "coroutine"})]
        if requests[0].request_id():
            return answer()
        return [pb_utils.InferenceResponse(parameters={"by": "list"})]
    """)
    for name, by in (("", "list"), ("x", "coroutine"), ("", "list"), ("x", "coroutine")):
        (answer,) = peer.execute(Request(id=name))
        assert json.loads(answer.parameters) == {"by": by}


def test_a_call_of_execute_that_fails_is_an_error(run_model):
    peer = run_model("class TritonPythonModel:\n    async def execute(self): pass")
    (answer,) = peer.execute(Request())
    assert "TypeError" in answer.message


def test_async_execute_awaits(run_execute):
    peer = run_execute(
        """
        import asyncio
        async def double(r):
            await asyncio.sleep(0)
            array = r.inputs()[0].as_numpy() * 2
            return pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array)])
        return await asyncio.gather(*map(double, requests))
        """,
        head="async def execute",
    )
    for _ in range(3):
        answers = peer.execute(*[Request({"IN": floats(i)}) for i in range(3)])
        assert [answer["OUT"].tolist() for answer in answers] == [[0], [2], [4]]
    assert peer.finalize() == 0
