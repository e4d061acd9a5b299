"""Requests to other models, and calls of the server's functions."""

import base64
import struct

import numpy as np
import pytest

from tests.python.python_backend.worker_peer import Request

CALL = """
    request = pb_utils.InferenceRequest(
        model_name="other", requested_output_names=["OUT"],
        inputs=[pb_utils.Tensor("IN", np.array([[1.5, 2]], np.float32))])
"""
RETURN = "\n    return [response]"


def test_exec_sends_the_request_and_returns_the_response(run_execute):
    peer = run_execute("""
        request = pb_utils.InferenceRequest(
            request_id="é", correlation_id="seq", model_name="other", model_version=3,
            requested_output_names=["OUT"], flags=1, timeout=9, parameters={"a": 1},
            trace=requests[0].trace(), preferred_memory=pb_utils.PreferredMemory(
                pb_utils.TRITONSERVER_MEMORY_CPU),
            inputs=[pb_utils.Tensor("IN", np.array([[1.5, 2]], np.float32)),
                    pb_utils.Tensor("TEXT", np.array([b"x"], object)),
                    requests[0].inputs()[0]])
        return [request.exec()]
    """)
    outer = Request({"RAW": np.arange(3)}, trace="context")
    execution = peer.start([outer])
    sent = peer.bls_request()
    assert (sent.model, sent.version, sent.decoupled) == ("other", 3, False)
    assert sent.callers == [outer.handle]
    r = sent.request
    assert (r.id, r.correlation, r.flags, r.timeout) == ("é", "seq", 1, 9)
    assert (r.requested, r.parameters, r.trace) == (["OUT"], '{"a": 1}', "context")
    assert r.inputs["IN"].tolist() == [[1.5, 2]]
    assert r.inputs["TEXT"].tolist() == [b"x"]
    assert r.inputs["RAW"].tolist() == [0, 1, 2]
    peer.bls_respond(sent.call, {"OUT": np.array([7.0]), "S": np.array([b"s"], object)})
    (answer,) = peer.responses(execution)
    assert answer["OUT"].tolist() == [7.0]
    assert answer["S"].tolist() == [b"s"]
    assert answer.outputs["OUT"].segment in peer.lent, "another model's output is not copied"


@pytest.mark.parametrize("head", ["def execute", "async def execute"])
def test_an_error_of_the_other_model_is_in_the_response(run_execute, head):
    peer = run_execute(
        CALL + "    response = request.exec()\n    assert response.has_error()" + RETURN, head=head
    )
    execution = peer.start([Request()])
    peer.bls_respond(peer.bls_request().call, error="queue is full")
    (answer,) = peer.responses(execution)
    assert (answer.code, answer.message) == (4, "queue is full")


def test_async_exec_runs_side_by_side(run_execute):
    peer = run_execute(
        f"""
        import asyncio
        {CALL.strip()}
        responses = await asyncio.gather(*[request.async_exec() for _ in range(3)])
        values = [pb_utils.get_output_tensor_by_name(r, "OUT").as_numpy()[0] for r in responses]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array(values))])]
        """,
        head="async def execute",
    )
    execution = peer.start([Request()])
    calls = [peer.bls_request().call for _ in range(3)]
    for value, call in reversed(list(enumerate(calls))):
        peer.bls_respond(call, {"OUT": np.array([value])})
    (answer,) = peer.responses(execution)
    assert answer["OUT"].tolist() == [0, 1, 2]


def test_async_exec_in_an_event_loop_of_the_model(run_execute):
    peer = run_execute(f"""
        import asyncio
        {CALL.strip()}
        async def run():
            return await request.async_exec()
        return [asyncio.run(run())]
    """)
    execution = peer.start([Request()])
    peer.bls_respond(peer.bls_request().call, {"OUT": np.array([5])})
    (answer,) = peer.responses(execution)
    assert answer["OUT"].tolist() == [5]


@pytest.mark.parametrize(
    ("head", "loop"),
    [
        ("def execute", "for r in request.exec(decoupled=True):"),
        ("async def execute", "for r in await request.async_exec(decoupled=True):"),
        ("async def execute", "async for r in await request.async_exec(decoupled=True):"),
        (
            "async def execute",
            "for r in (await __import__('asyncio').wait([request.async_exec(decoupled=True)]))[0]"
            ".pop().result():",
        ),
    ],
)
def test_a_decoupled_request_has_an_iterator(run_execute, head, loop):
    peer = run_execute(
        f"""
        {CALL.strip()}
        lengths = []
        {loop}
            lengths.append(len(r.output_tensors()))
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array(lengths))])]
        """,
        head=head,
    )
    execution = peer.start([Request()])
    sent = peer.bls_request()
    assert sent.decoupled
    for _ in range(3):
        peer.bls_respond(sent.call, {"OUT": np.array([1])}, final=False)
    peer.bls_respond(sent.call)
    (answer,) = peer.responses(execution)
    assert answer["OUT"].tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize(("count", "size"), [(16, 1), (1, 256 << 10)])
def test_the_server_is_told_of_responses_that_were_taken(run_execute, count, size):
    peer = run_execute(f"""
        {CALL.strip()}
        kept = list(request.exec(decoupled=True))
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([len(kept)]))])]
    """)
    execution = peer.start([Request()])
    call = peer.bls_request().call
    for _ in range(2):
        for _ in range(count):
            peer.bls_respond(call, {"OUT": np.zeros(size, np.uint8)}, final=False)
        assert peer.receive("BLS_TAKEN") == struct.pack("<QI", call, count)
    peer.bls_respond(call)
    (answer,) = peer.responses(execution)
    assert answer["OUT"].tolist() == [2 * count + 1]


@pytest.mark.parametrize("how", ["responses.cancel()", "del responses"])
def test_an_iterator_that_is_cancelled_or_dropped_cancels_its_request(run_execute, how):
    peer = run_execute(f"""
        {CALL.strip()}
        responses = request.exec(decoupled=True)
        next(responses)
        {how}
        return [pb_utils.InferenceResponse()]
    """)
    execution = peer.start([Request()])
    call = peer.bls_request().call
    peer.bls_respond(call, {"OUT": np.zeros(1 << 20)}, final=False)
    assert peer.receive("BLS_TAKEN") == struct.pack("<QI", call, 1)
    assert int.from_bytes(peer.receive("BLS_CANCEL"), "little") == call
    peer.bls_respond(call, {"OUT": np.zeros(1 << 20)}, final=False)
    peer.bls_respond(call, error="cancelled")
    assert peer.responses(execution)[0].kind == 1
    assert peer.finalize() == 0


def test_threads_call_while_the_main_thread_waits_for_them(run_execute):
    peer = run_execute(f"""
        from concurrent.futures import ThreadPoolExecutor
        {CALL.strip()}
        def call(_):
            return request.exec().output_tensors()[0].as_numpy()[0]
        with ThreadPoolExecutor(8) as pool:
            values = list(pool.map(call, range(40)))
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array(values))])]
    """)
    outer = Request()
    execution = peer.start([outer])
    for value in range(40):
        sent = peer.bls_request()
        assert sent.callers == [outer.handle]
        peer.bls_respond(sent.call, {"OUT": np.array([value])})
    (answer,) = peer.responses(execution)
    assert sorted(answer["OUT"].tolist()) == list(range(40))


def test_a_thread_calls_while_the_worker_is_idle(run_model):
    peer = run_model(
        f"""
        import threading
        class TritonPythonModel:
            def execute(self, requests):
                threading.Thread(target=self.run, args=(requests[0].get_response_sender(),)).start()
            def run(self, sender):
            {CALL.replace(chr(10) + "    ", chr(10) + " " * 16)}
                sender.send(request.exec(), 1)
        """,
        True,
    )
    peer.start([Request()])
    peer.executed()
    peer.bls_respond(peer.bls_request().call, {"OUT": np.array([3])})
    assert peer.response()["OUT"].tolist() == [3]


def test_a_call_is_made_for_the_whole_batch(run_execute):
    peer = run_execute(CALL + "    response = request.exec()\n    return [response, response]")
    outer = [Request(), Request()]
    execution = peer.start(outer)
    sent = peer.bls_request()
    assert sent.callers == [request.handle for request in outer]
    peer.bls_respond(sent.call)
    assert len(peer.responses(execution)) == 2


def test_a_call_with_the_trace_of_a_request_is_made_for_that_one(run_execute):
    peer = run_execute("""
        return [
            pb_utils.InferenceRequest(model_name="other", trace=request.trace()).exec()
            for request in requests
        ]
    """)
    outer = [Request(trace="context"), Request()]
    execution = peer.start(outer)
    for request in outer:
        sent = peer.bls_request()
        assert (sent.callers, sent.request.trace) == ([request.handle], request.trace)
        peer.bls_respond(sent.call)
    assert len(peer.responses(execution)) == 2


def test_a_thread_calls_for_the_requests_of_the_one_execution_that_is_open(run_model):
    peer = run_model(
        """
        import threading
        class TritonPythonModel:
            def execute(self, requests):
                self.senders = [request.get_response_sender() for request in requests]
                self.senders[0].send(None, 1)
                threading.Thread(target=self.run).start()
            def run(self):
                pb_utils.InferenceRequest(model_name="other").exec()
                self.senders[1].send(None, 1)
        """,
        True,
    )
    outer = [Request(), Request()]
    peer.start(outer)
    peer.executed()
    sent = peer.bls_request()
    assert sent.callers == [request.handle for request in outer]
    peer.bls_respond(sent.call)
    assert [peer.response().handle for _ in outer] == [request.handle for request in outer]


def test_a_request_that_cannot_be_sent_raises(run_execute):
    peer = run_execute("""
        bad = pb_utils.Tensor("\\ud800", np.ones(1))
        pb_utils.InferenceRequest(model_name="other", inputs=[bad]).exec()
    """)
    (answer,) = peer.execute(Request())
    assert "UnicodeEncodeError" in answer.message


def test_load_unload_and_readiness_are_asked_of_the_server(run_execute):
    peer = run_execute("""
        pb_utils.load_model("m", config="{}", files={"file:1/a": b"\\0\\xff"})
        pb_utils.unload_model("m", unload_dependents=True)
        ready = [pb_utils.is_model_ready("m"), pb_utils.is_model_ready("m", "2")]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array(ready))])]
    """)
    outer = Request()
    execution = peer.start([outer])
    asked = []
    for value in (None, None, True, False):
        number, message = peer.call()
        asked.append((message["method"], message["args"]))
        peer.answer_call(number, value)
    files = {"file:1/a": base64.b64encode(b"\0\xff").decode()}
    assert asked == [
        ("load_model", {"model_name": "m", "config": "{}", "files": files}),
        ("unload_model", {"model_name": "m", "unload_dependents": True}),
        ("is_model_ready", {"model_name": "m", "model_version": ""}),
        ("is_model_ready", {"model_name": "m", "model_version": "2"}),
    ]
    assert peer.responses(execution)[0]["OUT"].tolist() == [True, False]


def test_a_call_that_fails_raises_the_servers_text(run_execute):
    peer = run_execute("pb_utils.load_model('m')")
    execution = peer.start([Request()])
    peer.answer_call(peer.call()[0], error=[2, "no such model 'm'"])
    assert "TritonModelException: no such model 'm'" in peer.responses(execution)[0].message


METRICS = """
    family = pb_utils.MetricFamily("hits", "how many", pb_utils.MetricFamily.{kind})
    metric = family.Metric(labels={{"model": "m"}}, buckets={buckets})
    {code}
    return [pb_utils.InferenceResponse()]
"""


@pytest.mark.parametrize(
    ("kind", "buckets", "code", "sent"),
    [
        ("COUNTER", None, "metric.increment(2)", ("metric_increment", 2.0)),
        ("GAUGE", None, "metric.increment(-2)", ("metric_increment", -2.0)),
        ("GAUGE", None, "metric.set(0.5)", ("metric_set", 0.5)),
        ("HISTOGRAM", [1, 10], "metric.observe(3)", ("metric_observe", 3.0)),
    ],
)
def test_metrics_are_made_and_changed_at_the_server(run_execute, kind, buckets, code, sent):
    peer = run_execute(METRICS.format(kind=kind, buckets=buckets, code=code))
    execution = peer.start([Request()])
    number, family = peer.call()
    assert (family["method"], family["args"]["kind"]) == ("metric_family", kind.lower())
    peer.answer_call(number)
    number, metric = peer.call()
    assert metric["args"]["labels"] == {"model": "m"}
    assert metric["args"]["buckets"] == buckets
    peer.answer_call(number)
    assert peer.responses(execution)[0].kind == 1
    for method, value in (sent, ("metric_delete", None)):
        number, change = peer.call()
        assert (number, change["method"], change["args"].get("value")) == (0, method, value)
        assert change["args"]["metric"] == metric["args"]["metric"]


def test_the_value_of_a_metric_is_asked_of_the_server(run_execute):
    code = "return [pb_utils.InferenceResponse(parameters={'v': metric.value()})]"
    peer = run_execute(METRICS.format(kind="COUNTER", buckets=None, code=code))
    execution = peer.start([Request()])
    for value in (None, None, 12.5):
        peer.answer_call(peer.call()[0], value)
    assert peer.responses(execution)[0].parameters == '{"v": 12.5}'


@pytest.mark.parametrize(
    ("kind", "code", "text"),
    [
        ("COUNTER", "metric.increment(-1)", "a counter cannot be incremented by -1"),
        ("COUNTER", "metric.set(1)", "a counter has no set()"),
        ("GAUGE", "metric.observe(1)", "a gauge has no observe()"),
        ("GAUGE", "metric.set(float('nan'))", "nan is not finite"),
        ("GAUGE", "family.Metric(buckets=[1])", "buckets are for histograms"),
        ("GAUGE", "pb_utils.MetricFamily('x', '', 9)", "metric kind 9"),
    ],
)
def test_what_a_metric_cannot_do_raises(run_execute, kind, code, text):
    peer = run_execute(METRICS.format(kind=kind, buckets=None, code=code))
    execution = peer.start([Request()])
    peer.answer_call(peer.call()[0])
    peer.answer_call(peer.call()[0])
    assert text in peer.responses(execution)[0].message


def test_changes_of_metrics_do_not_run_far_ahead_of_the_server(run_execute):
    peer = run_execute("""
        family = pb_utils.MetricFamily("m", "text", pb_utils.MetricFamily.COUNTER)
        metric = family.Metric()
        for _ in range(1000):
            metric.increment(1)
        return [pb_utils.InferenceResponse()]
    """)
    execution = peer.start([Request()])
    for _ in range(2):
        peer.answer_call(peer.call()[0])
    increments = 0
    for _ in range(3):
        number, call = peer.call()
        while not number:
            increments += 1
            number, call = peer.call()
        assert call["method"] == "metric_increment"
        increments += 1
        assert increments % 256 == 0
        assert not [kind for kind, _ in peer.packets if kind == "RESPONSES"]
        # An error of a change is nobody's.
        peer.answer_call(number, error=[2, "the metric does not exist"])
    assert peer.responses(execution)[0].kind == 1
    kinds = [kind for kind, _ in peer.packets]
    assert increments + kinds.count("CALL") == 1000 + ("metric_delete" in str(peer.packets))
