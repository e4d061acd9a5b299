"""What becomes of the calls of a model when clients that it works for go away."""

from pathlib import Path
from queue import Queue

import numpy as np
import pytest
import tritonclient.grpc as grpcclient

from tests.python.python_models.conftest import eventually
from tests.python.python_models.models import config, model

PAIRS = "dynamic_batching { preferred_batch_size: [ 2 ] max_queue_delay_microseconds: 60000000 }\n"

# Makes one call for its whole batch, and tells when it knows that a client of it has gone.
CALLING_FOR_ALL = """
    def execute(self, requests):
        import threading

        over = threading.Event()
        watch = threading.Thread(target=self.watch, args=(requests, over))
        watch.start()
        inner = pb_utils.InferenceRequest(
            model_name="inner", requested_output_names=["OUTPUT0"], inputs=requests[0].inputs()
        ).exec()
        over.set()
        watch.join()
        if inner.has_error():
            return [pb_utils.InferenceResponse(error=inner.error()) for _ in requests]
        output = pb_utils.Tensor("OUTPUT0", inner.output_tensors()[0].as_numpy().copy())
        return [pb_utils.InferenceResponse([output]) for _ in requests]

    def watch(self, requests, over):
        from pathlib import Path

        while not over.wait(0.005):
            # Either: calls on one gRPC channel may arrive in any order.
            if any(request.is_cancelled() for request in requests):
                Path("{folder}/outer cancelled").touch()
                return
    """

# Runs until the test lets it, or its own request is cancelled.
INNER = """
    def execute(self, requests):
        import time
        from pathlib import Path

        Path("{folder}/inner runs").touch()
        while not Path("{folder}/go").exists() and not requests[0].is_cancelled():
            time.sleep(0.005)
        if requests[0].is_cancelled():
            Path("{folder}/inner cancelled").touch()
        x = requests[0].inputs()[0].as_numpy()
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", x)])]
    """


class Pair:
    """Two clients whose requests are one batch of the model `outer`."""

    def __init__(self, client: grpcclient.InferenceServerClient) -> None:
        self.answers: list[Queue] = [Queue(), Queue()]
        tensor = grpcclient.InferInput("INPUT0", [1, 1], "FP32")
        tensor.set_data_from_numpy(np.array([[3]], np.float32))
        self.calls = [
            client.async_infer(
                "outer", [tensor], lambda result, error, to=to: to.put((result, error))
            )
            for to in self.answers
        ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def pair(serve, folder: Path) -> Pair:
    """Once the inner model runs for them."""
    code = [model(text.replace("{folder}", str(folder))) for text in (CALLING_FOR_ALL, INNER)]
    server = serve({"outer": (config(more=PAIRS), code[0]), "inner": (config(), code[1])})
    pair = Pair(grpcclient.InferenceServerClient(server.url("grpc")))
    eventually((folder / "inner runs").exists)
    return pair


def test_a_call_for_a_batch_survives_the_client_that_goes_away(pair, folder):
    pair.calls[0].cancel()
    eventually((folder / "outer cancelled").exists)
    (folder / "go").touch()
    result, error = pair.answers[1].get(timeout=60)
    assert error is None
    assert result.as_numpy("OUTPUT0").tolist() == [[3]]
    assert not (folder / "inner cancelled").exists()


def test_a_call_ends_when_no_client_is_left(pair, folder):
    for call in pair.calls:
        call.cancel()
    eventually((folder / "inner cancelled").exists)
