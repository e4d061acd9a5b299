"""A real recurrent model served with implicit state answers what onnxruntime answers when its
caller carries the state by hand.
"""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from fastserve import InferenceServer

_CONFIG = """
backend: "onnxruntime"
input [
  { name: "input" data_type: TYPE_FP32 dims: [ 1, 576 ] },
  { name: "sr" data_type: TYPE_INT64 dims: [ 1 ] reshape { shape: [ ] } }
]
output [ { name: "output" data_type: TYPE_FP32 dims: [ 1, 1 ] } ]
sequence_batching {
  oldest { max_candidate_sequences: 64 }
  max_sequence_idle_microseconds: 60000000
  state [ { input_name: "state" output_name: "stateN" data_type: TYPE_FP32 dims: [ 2, 1, 128 ] } ]
}
"""
_SEQUENCES = 64
_STEPS = 12
_RATE = np.array(16000, np.int64)


def _model_file() -> Path:
    spec = find_spec("silero_vad")
    assert spec is not None, "the package silero-vad belongs to requirements/files.in"
    assert spec.origin is not None
    return Path(spec.origin).parent / "data/silero_vad_16k_op15.onnx"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InferenceServer]:
    root = tmp_path_factory.mktemp("models")
    (root / "vad/1").mkdir(parents=True)
    shutil.copy(_model_file(), root / "vad/1/model.onnx")
    (root / "vad/config.pbtxt").write_text(_CONFIG)
    with InferenceServer(root) as running:
        yield running


@pytest.fixture(scope="module")
def audio() -> np.ndarray:
    """Bursts of noise over a hum, another one per sequence: [sequence, step, 1, 576]."""
    random = np.random.default_rng(11)
    time = np.arange(_STEPS * 576) / 16000
    pitch = random.uniform(80, 300, (_SEQUENCES, 1))
    burst = random.random((_SEQUENCES, _STEPS)).repeat(576, axis=1)
    noise = random.standard_normal((_SEQUENCES, _STEPS * 576))
    signal = 0.3 * np.sin(2 * np.pi * pitch * time) + 0.2 * burst * noise
    return signal.astype(np.float32).reshape(_SEQUENCES, _STEPS, 1, 576)


def _by_hand(audio: np.ndarray, *, carry_state: bool = True) -> np.ndarray:
    session = onnxruntime.InferenceSession(_model_file(), providers=["CPUExecutionProvider"])
    outputs = np.zeros((_SEQUENCES, _STEPS), np.float32)
    for sequence in range(_SEQUENCES):
        state = np.zeros((2, 1, 128), np.float32)
        for step in range(_STEPS):
            inputs = {"input": audio[sequence, step], "state": state, "sr": _RATE}
            output, next_state = session.run(["output", "stateN"], inputs)
            state = next_state if carry_state else state
            outputs[sequence, step] = output.item()
    return outputs


def test_64_interleaved_sequences_answer_as_onnxruntime_by_hand(
    server: InferenceServer, audio: np.ndarray
) -> None:
    def infer(sequence: int, step: int) -> float:
        result = server.infer(
            "vad",
            {"input": audio[sequence, step], "sr": _RATE.reshape(1)},
            sequence_id=sequence + 1,
            sequence_start=step == 0,
            sequence_end=step == _STEPS - 1,
        )
        return float(result["output"].item())

    served = np.zeros((_SEQUENCES, _STEPS), np.float32)
    with ThreadPoolExecutor(16) as pool:
        for step in range(_STEPS):  # all sequences take a step before any takes the next
            row = pool.map(infer, range(_SEQUENCES), [step] * _SEQUENCES)
            served[:, step] = list(row)
    expected = _by_hand(audio)
    np.testing.assert_allclose(served, expected, rtol=1e-5, atol=1e-6)
    forgetful = _by_hand(audio, carry_state=False)
    assert not np.allclose(forgetful, expected, rtol=1e-2, atol=1e-2), "the state must matter"
