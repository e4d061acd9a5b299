"""DLPack of tensors, both ways."""

import numpy as np
import pytest

from tests.python.python_backend.conftest import write_python_model
from tests.python.python_backend.worker_peer import Request

NUMERIC = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"]


@pytest.fixture(params=["", "1"], ids=["native", "pure"], autouse=True)
def _both_implementations(request, monkeypatch):
    monkeypatch.setenv("FASTSERVE_WORKER_PURE_PYTHON", request.param)


@pytest.mark.parametrize("kind", NUMERIC)
def test_numpy_takes_a_tensor_without_a_copy(run_execute, kind):
    peer = run_execute("""
        tensor = requests[0].inputs()[0]
        taken = np.from_dlpack(tensor)
        assert np.shares_memory(taken, tensor.as_numpy())
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array(taken))])]
    """)
    array = np.arange(6).reshape(2, 3).astype(kind)
    (answer,) = peer.execute(Request({"IN": array}))
    assert answer["OUT"].dtype == array.dtype
    assert answer["OUT"].tolist() == array.tolist()


@pytest.mark.parametrize(
    "source",
    ["array", "pb_utils.Tensor('X', array)", "pb_utils.Tensor('X', array).to_dlpack()"],
)
def test_a_tensor_takes_dlpack_without_a_copy(run_execute, source):
    peer = run_execute(f"""
        array = np.arange(12, dtype=np.int64).reshape(3, 4)[:, 1:3]
        tensor = pb_utils.Tensor.from_dlpack("OUT", {source})
        assert np.shares_memory(tensor.as_numpy(), array)
        return [pb_utils.InferenceResponse([tensor])]
    """)
    (answer,) = peer.execute(Request())
    assert answer["OUT"].tolist() == [[1, 2], [5, 6], [9, 10]]


def test_a_bool_and_an_empty_tensor_pass(run_execute):
    peer = run_execute("""
        arrays = {"BOOL": np.array([True, False]), "EMPTY": np.empty((0, 2), np.float32)}
        return [pb_utils.InferenceResponse([
            pb_utils.Tensor.from_dlpack(name, pb_utils.Tensor(name, array))
            for name, array in arrays.items()])]
    """)
    (answer,) = peer.execute(Request())
    assert answer["BOOL"].tolist() == [True, False]
    assert answer["EMPTY"].shape == (0, 2)


def test_bf16_passes_by_dlpack_only(run_execute):
    peer = run_execute("""
        tensor = requests[0].inputs()[0]
        try:
            tensor.as_numpy()
        except pb_utils.TritonModelException as error:
            assert "BF16" in str(error)
        else:
            raise AssertionError
        taken = pb_utils.Tensor.from_dlpack("OUT", tensor)
        assert taken.triton_dtype() == 14 and taken.shape() == [2, 2]
        return [pb_utils.InferenceResponse([taken])]
    """)
    data = bytes(range(8))
    (answer,) = peer.execute(Request({"IN": (14, (2, 2), data)}))
    output = answer.outputs["OUT"]
    assert output.type == 14
    assert output.array.tobytes() == data


def test_memory_lives_as_long_as_what_was_made_of_it(run_model):
    peer = run_model("""
    import gc
    class TritonPythonModel:
        kept = None
        def execute(self, requests):
            if self.kept is None:
                self.kept = np.from_dlpack(requests[0].inputs()[0])
                array = np.full(50_000, 3.0)
                self.own = pb_utils.Tensor.from_dlpack("OWN", pb_utils.Tensor("OWN", array))
                unused = requests[0].inputs()[0].to_dlpack()
                return [pb_utils.InferenceResponse()]
            gc.collect()
            outputs = [pb_utils.Tensor("KEPT", self.kept + 0), self.own]
            self.kept = None
            return [pb_utils.InferenceResponse(outputs)]
    """)
    big = np.arange(400_000, dtype=np.float32)
    peer.execute(Request({"IN": big}))
    first = peer.input_segment
    (answer,) = peer.execute(Request({"IN": big * 0}))
    assert answer["KEPT"].tolist() == big.tolist()
    assert set(answer["OWN"].tolist()) == {3.0}
    peer.execute(Request({"IN": big}))
    assert first in peer.released


def test_a_capsule_that_goes_with_an_exception_lets_it_pass(tmp_path, new_peer):
    model = write_python_model(
        tmp_path,
        """
        class TritonPythonModel:
            def execute(self, requests):
                tensor = requests[0].inputs()[0]
                # The argument's last reference goes while the exception is on its way.
                steps = [lambda: int(tensor.to_dlpack()), lambda: len(tensor.__dlpack__(None))]
                texts = []
                for step in steps:
                    try:
                        step()
                    except TypeError as error:
                        texts.append(str(error))
                output = pb_utils.Tensor("OUT", np.array(texts, object))
                return [pb_utils.InferenceResponse([output])]
        """,
    )
    peer = new_peer()
    assert peer.initialize(model)["error"] is None
    big = np.zeros(2 << 20, np.uint8)
    for _ in range(3):
        (answer,) = peer.execute(Request({"IN": big}))
        assert [b"PyCapsule" in text for text in answer["OUT"]] == [True, True]
    assert len(peer.released) == 2
    assert peer.finalize() == 0
    assert peer.stderr() == ""


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("pb_utils.Tensor('T', np.array(['a'])).to_dlpack()", "is BYTES"),
        ("pb_utils.Tensor.from_dlpack('T', 7)", "expected a DLPack capsule"),
        ("c = pb_utils.Tensor('T', np.ones(1)).to_dlpack(); [pb_utils.Tensor.from_dlpack('T', c) "
         "for _ in range(2)]", "was not taken before"),
        ("pb_utils.Tensor.from_dlpack('T', np.ones(1, np.complex64))", "type code 5"),
    ],
)  # fmt: skip
def test_what_dlpack_cannot_do_raises(run_execute, code, text):
    peer = run_execute(code)
    (answer,) = peer.execute(Request())
    assert text in answer.message
