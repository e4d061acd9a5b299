"""Executions of models that return their responses."""

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
