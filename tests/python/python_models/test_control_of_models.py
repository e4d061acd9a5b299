"""What reaches a model besides requests: readiness, log settings; and what it reaches itself."""

import numpy as np
import tritonclient.grpc as grpcclient
import tritonclient.http as httpclient

from tests.python.python_models.conftest import eventually, infer
from tests.python.python_models.models import calling, config, model

# Ready while a file exists.
ASKED = """
    def is_ready(self):
        import os

        return os.path.exists("{path}")

    def execute(self, requests):
        return []
    """


def test_a_model_is_asked_whether_it_is_ready(serve, tmp_path):
    path = tmp_path / "ready"
    path.touch()
    server = serve({"asked": (config(), model(ASKED.replace("{path}", str(path))))})
    with (
        httpclient.InferenceServerClient(server.url("http")) as http,
        grpcclient.InferenceServerClient(server.url("grpc")) as grpc,
    ):
        for client in (http, grpc):
            assert client.is_model_ready("asked")
            assert client.is_model_ready("asked", "1")
        path.unlink()
        for client in (http, grpc):
            assert not client.is_model_ready("asked")
            assert not client.is_model_ready("asked", "1")


# Tells when its log level lets verbose lines through, without a request.
VERBOSE = """
    def initialize(self, args):
        import threading

        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self):
        import time

        from fastserve_worker import current

        while current.worker().log_level < pb_utils.Logger.VERBOSE:
            time.sleep(0.005)
        pb_utils.Logger.log_verbose("the level reached an idle worker")

    def execute(self, requests):
        return []
    """


def test_the_log_settings_reach_an_idle_worker(serve):
    server = serve({"verbose": (config(), model(VERBOSE))})
    with httpclient.InferenceServerClient(server.url("http")) as http:
        http.update_log_settings({"log_verbose_level": 1})
    eventually(lambda: any("the level reached an idle worker" in line for line in server.lines))


# Sends the numbers of its input as one sequence, and answers with the last sum.
SEQUENCE_CALLING = """
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        values = request.inputs()[0].as_numpy().ravel()
        for at, value in enumerate(values):
            flags = pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START if at == 0 else 0
            if at == len(values) - 1:
                flags |= pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END
            inner = pb_utils.InferenceRequest(
                model_name="sequence",
                correlation_id=request.correlation_id() + 42,
                flags=flags,
                requested_output_names=["OUTPUT0"],
                inputs=[pb_utils.Tensor("INPUT0", np.array([[value]], np.float32))],
            ).exec()
            if inner.has_error():
                return pb_utils.InferenceResponse(error=inner.error())
        return pb_utils.InferenceResponse(inner.output_tensors())
    """


def test_a_model_calls_a_sequence_from_start_to_end(protocol, serve):
    from tests.python.python_models.models import DIRECT, SEQUENCE

    server = serve(
        {
            "sequence": (config(more=DIRECT), SEQUENCE),
            "calling_sequence": (config(), model(SEQUENCE_CALLING)),
        }
    )
    module, _ = protocol
    with module.InferenceServerClient(server.url(module.__name__.rpartition(".")[2])) as client:
        for values, total in (([1, 2, 4], 7), ([8], 8)):  # the second one begins anew
            answer = infer((module, client), "calling_sequence", np.array([values], np.float32))
            assert answer.as_numpy("OUTPUT0").tolist() == [[total]]


# Unloads the model that called it, then answers.
UNLOADING_ITS_CALLER = """
    def execute(self, requests):
        pb_utils.unload_model("outer")
        ready = float(pb_utils.is_model_ready("outer"))
        x = requests[0].inputs()[0].as_numpy()
        output = pb_utils.Tensor("OUTPUT0", np.full_like(x, ready))
        return [pb_utils.InferenceResponse([output])]
    """


def test_a_model_may_unload_its_caller(serve):
    server = serve(
        {"outer": (config(), calling("inner")), "inner": (config(), model(UNLOADING_ITS_CALLER))},
        "--model-control-mode=explicit",
        "--load-model=*",
    )
    with grpcclient.InferenceServerClient(server.url("grpc")) as client:
        answer = infer((grpcclient, client), "outer", np.array([[7]], np.float32))
        assert answer.as_numpy("OUTPUT0").tolist() == [[0]]
        assert not client.is_model_ready("outer")
        assert client.is_model_ready("inner")
        client.load_model("outer")
        assert client.is_model_ready("outer")
