"""Streams between models, their flags, and workers that do not start in time."""

import queue
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from tests.python.python_models.conftest import infer
from tests.python.python_models.models import IDENTITY, config, model

COUNTING = model("""
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            x = pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
            for number in range(int(x[0, 0])):
                values = np.full((1, 4096), number, np.float32)
                sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", values)]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
    """)

# Keeps all of a stream, then says whether it is whole and in order.
KEEPING = model("""
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        call = pb_utils.InferenceRequest(
            model_name="counting", requested_output_names=["OUTPUT0"], inputs=request.inputs()
        )
        kept = [answer for answer in call.exec(decoupled=True) if answer.output_tensors()]
        seen = [float(answer.output_tensors()[0].as_numpy()[0, -1]) for answer in kept]
        assert seen == list(range(len(seen))), seen
        total = np.array([[len(seen)]], np.float32)
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", total)])
    """)

RESCHEDULING = model("""
    def execute(self, requests):
        for request in requests:
            request.set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
    """)

# Runs a request as often as its value says, and answers how often that was and under which
# correlation id; START tells the first run of a sequence.
ITERATING = model("""
    def initialize(self, args):
        self.runs = {}

    def execute(self, requests):
        return [self.step(request) for request in requests]

    def step(self, request):
        values = {
            name: pb_utils.get_input_tensor_by_name(request, name).as_numpy().item()
            for name in ("INPUT0", "START", "CORRID")
        }
        sequence = values["CORRID"]
        first = sequence not in self.runs
        assert first == bool(values["START"]), (values, self.runs)
        self.runs.setdefault(sequence, [0])[-1] += 1
        if self.runs[sequence][-1] < values["INPUT0"]:
            request.set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
            return None
        answer = np.array([[self.runs[sequence][-1], len(self.runs[sequence])]], np.float32)
        self.runs[sequence].append(0)
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", answer)])
    """)

ITERATIVE = """sequence_batching {
  iterative_sequence: true
  oldest { max_candidate_sequences: 16 }
  control_input [
    { name: "START" control { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } },
    { name: "CORRID" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } }
  ]
}
"""

HANGING = model("""
    def initialize(self, args):
        import time

        time.sleep(1000)

    def execute(self, requests):
        raise NotImplementedError
    """)


def client_of(server) -> grpcclient.InferenceServerClient:
    return grpcclient.InferenceServerClient(server.url("grpc"))


def row(value: float) -> np.ndarray:
    return np.array([[value]], np.float32)


def test_a_model_may_keep_a_stream_of_many_windows(serve):
    server = serve({"counting": (config(decoupled=True), COUNTING), "keeping": (config(), KEEPING)})
    with client_of(server) as client:
        answer = infer((grpcclient, client), "keeping", row(1000))
    assert answer.as_numpy("OUTPUT0").tolist() == [[1000]]


def test_a_decoupled_model_that_reschedules_fails_its_request(serve):
    server = serve({"again": (config(decoupled=True), RESCHEDULING)})
    with client_of(server) as client:
        answers = []
        tensor = grpcclient.InferInput("INPUT0", [1, 1], "FP32").set_data_from_numpy(row(1))
        client.start_stream(lambda result, error: answers.append((result, error)))
        client.async_stream_infer("again", [tensor])
        client.stop_stream()
    ((_, error),) = answers
    assert "needs sequence_batching with iterative_sequence" in str(error)


def test_a_rescheduled_request_runs_until_the_model_answers_it(serve):
    server = serve({"iterating": (config(more=ITERATIVE), ITERATING)})
    with client_of(server) as client:
        counts = [1, 20, 3, 7, 2, 11]
        with ThreadPoolExecutor(len(counts)) as pool:
            answers = pool.map(
                lambda count: infer((grpcclient, client), "iterating", row(count)), counts
            )
            # Without a sequence_id each is a sequence of its own.
            assert [a.as_numpy("OUTPUT0").tolist() for a in answers] == [[[c, 1]] for c in counts]
        (stats,) = client.get_inference_statistics("iterating").model_stats
    assert stats.inference_stats.success.count == len(counts)
    assert stats.execution_count >= max(counts)


def test_what_follows_in_a_sequence_waits_for_the_rescheduled_request(serve):
    server = serve({"iterating": (config(more=ITERATIVE), ITERATING)})
    answers: queue.Queue = queue.Queue()
    counts = [25, 4, 9]
    with client_of(server) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for number, count in enumerate(counts):
            tensor = grpcclient.InferInput("INPUT0", [1, 1], "FP32")
            client.async_stream_infer(
                "iterating",
                [tensor.set_data_from_numpy(row(count))],
                sequence_id=42,
                sequence_start=number == 0,
                sequence_end=number == len(counts) - 1,
            )
        for number, count in enumerate(counts):
            result, error = answers.get(timeout=60)
            assert error is None
            assert result.as_numpy("OUTPUT0").tolist() == [[count, number + 1]]
        client.stop_stream()


def test_a_worker_that_does_not_initialize_in_time_fails_its_load(serve):
    server = serve(
        {"hanging": (config(), HANGING), "other": (config(), IDENTITY)},
        "--model-control-mode=explicit",
        "--load-model=other",
        "--backend-config=python,stub-timeout-seconds=1.5",
    )
    with client_of(server) as client:
        with pytest.raises(InferenceServerException, match=r"did not initialize within 1\.5 s"):
            client.load_model("hanging")
        assert client.is_model_ready("other")
