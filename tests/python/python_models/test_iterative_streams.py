"""Decoupled models that take their requests again: iterative decoding."""

import threading

import numpy as np
import pytest
import tritonclient.grpc as grpcclient

from tests.python.python_models.models import config, model

ITERATIVE = "sequence_batching { iterative_sequence: true }\n"

# Sends one number at a time, of all requests of the batch, until it has counted down to 1.
DECODING = model("""
    def initialize(self, args):
        self.left = {}

    def execute(self, requests):
        for request in requests:
            number = request.correlation_id()
            if request.flags() & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START:
                self.left[number] = int(request.inputs()[0].as_numpy()[0, 0])
            left = self.left[number]
            output = pb_utils.Tensor("OUTPUT0", np.array([[left]], np.float32))
            sender = request.get_response_sender()
            sender.send(pb_utils.InferenceResponse([output]))
            self.left[number] -= 1
            if left > 1:
                request.set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
            else:
                sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
    """)


@pytest.mark.parametrize("requests", [1, 6])
def test_requests_are_decoded_step_by_step_side_by_side(serve, requests):
    server = serve({"decoding": (config(decoupled=True, more=ITERATIVE), DECODING)})
    seen: list[list[float]] = [[] for _ in range(requests)]
    failed: list[object] = []
    ended = threading.Semaphore(0)

    def take(result, error) -> None:
        if error is not None:
            failed.append(error)
            ended.release()
            return
        answer = result.get_response()
        if answer.outputs:
            seen[int(answer.id)].append(float(result.as_numpy("OUTPUT0")[0, 0]))
        if answer.parameters["triton_final_response"].bool_param:
            ended.release()

    with grpcclient.InferenceServerClient(server.url("grpc")) as client:
        client.start_stream(take)
        for number in range(requests):
            tensor = grpcclient.InferInput("INPUT0", [1, 1], "FP32")
            tensor.set_data_from_numpy(np.array([[20 + number]], np.float32))
            client.async_stream_infer(
                "decoding", [tensor], request_id=str(number), enable_empty_final_response=True
            )
        assert all(ended.acquire(timeout=60) for _ in range(requests))
        client.stop_stream()
    assert failed == []
    assert seen == [list(range(20 + number, 0, -1)) for number in range(requests)]
