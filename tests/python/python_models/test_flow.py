"""Streams between models, their flags, and workers that do not start in time."""

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
