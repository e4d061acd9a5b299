"""What the official client sees when a request is wrong: codes and texts as Triton's."""

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException


def request(module, name="INPUT0", shape=(1, 16), data_type="FP32", value=None):
    tensor = module.InferInput(name, list(shape), data_type)
    tensor.set_data_from_numpy(np.zeros(shape, np.float32) if value is None else value)
    return tensor


def failure(client, model: str, inputs: list, **options) -> InferenceServerException:
    with pytest.raises(InferenceServerException) as error:
        client.infer(model, inputs, **options)
    return error.value


def is_code(error: InferenceServerException, http: str, grpc: str) -> bool:
    return error.status() in (http, f"StatusCode.{grpc}")


def test_an_unknown_model_is_not_found(protocol):
    module, client = protocol
    error = failure(client, "no_such", [request(module)])
    assert error.message() == "Request for unknown model: 'no_such' is not found"
    assert is_code(error, "404", "NOT_FOUND")


def test_an_unknown_version_is_not_found(protocol):
    module, client = protocol
    error = failure(client, "identity_fp32", [request(module)], model_version="9")
    assert error.message() == "Request for unknown model: 'identity_fp32' version 9 is not found"
    assert is_code(error, "404", "NOT_FOUND")


def test_a_version_that_is_no_number_is_an_invalid_argument(grpc):
    import tritonclient.grpc as grpcclient

    error = failure(grpc, "identity_fp32", [request(grpcclient)], model_version="x")
    assert is_code(error, "400", "INVALID_ARGUMENT")


def test_a_missing_input_is_named(protocol):
    module, client = protocol
    error = failure(client, "add_sub_fp32", [request(module)])
    assert "expected 2 inputs but got 1 inputs for model 'add_sub_fp32'" in error.message()
    assert "INPUT1" in error.message()
    assert is_code(error, "400", "INVALID_ARGUMENT")


def test_an_unknown_input_is_named(protocol):
    module, client = protocol
    error = failure(client, "identity_fp32", [request(module, name="WRONG")])
    assert "WRONG" in error.message() or "INPUT0" in error.message()
    assert is_code(error, "400", "INVALID_ARGUMENT")


def test_a_wrong_data_type_is_an_invalid_argument(protocol):
    module, client = protocol
    value = np.zeros((1, 16), np.int32)
    error = failure(client, "identity_fp32", [request(module, data_type="INT32", value=value)])
    assert "INT32" in error.message()
    assert "FP32" in error.message()
    assert is_code(error, "400", "INVALID_ARGUMENT")


def test_a_wrong_shape_is_an_invalid_argument(protocol):
    module, client = protocol
    error = failure(client, "classifier", [request(module, shape=(1, 5))])
    assert (
        "unexpected shape for input 'INPUT0' for model 'classifier'. Expected [-1,4], got [1,5]"
        in error.message()
    )
    assert is_code(error, "400", "INVALID_ARGUMENT")


def test_a_batch_that_is_too_large_is_an_invalid_argument(protocol):
    module, client = protocol
    error = failure(client, "classifier", [request(module, shape=(9, 4))])
    assert "batch-size must be <= 8" in error.message()
    assert is_code(error, "400", "INVALID_ARGUMENT")


def test_an_unknown_output_is_named(protocol):
    module, client = protocol
    outputs = [module.InferRequestedOutput("NOPE")]
    error = failure(client, "identity_fp32", [request(module)], outputs=outputs)
    assert "NOPE" in error.message()
    assert is_code(error, "400", "INVALID_ARGUMENT")


def test_classification_of_bytes_is_refused(protocol):
    module, client = protocol
    value = np.array([[b"x"]], np.object_)
    tensor = request(module, shape=(1, 1), data_type="BYTES", value=value)
    error = failure(
        client,
        "identity_bytes",
        [tensor],
        outputs=[module.InferRequestedOutput("OUTPUT0", class_count=1)],
    )
    assert "class" in error.message()


def test_the_server_answers_on_after_every_failure(protocol):
    module, client = protocol
    failure(client, "no_such", [request(module)])
    assert client.is_server_live()
    assert client.infer("identity_fp32", [request(module)]).as_numpy("OUTPUT0").shape == (1, 16)
