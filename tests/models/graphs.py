"""Builds the ONNX graphs; names and dimensions follow Triton's own examples."""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# ONNX Runtime refuses models newer than it knows; these two are read by all releases of late years.
IR_VERSION = 10
OPSET = 17

Dims = Sequence[int | str]
NamedTensor = tuple[str, int, Dims]


def build(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[NamedTensor],
    outputs: Sequence[NamedTensor],
    constants: dict[str, np.ndarray] | None = None,
    opset: int = OPSET,
) -> onnx.ModelProto:
    """One graph from its nodes and its typed inputs and outputs."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(*tensor) for tensor in inputs],
        [helper.make_tensor_value_info(*tensor) for tensor in outputs],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    model: onnx.ModelProto = helper.make_model(
        graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", opset)]
    )
    onnx.checker.check_model(model)
    return model


def tiny() -> onnx.ModelProto:
    """OUTPUT0 = INPUT0 + 1 over FP32 [-1,16]: the cheapest model, to measure what is around it."""
    return build(
        [helper.make_node("Add", ["INPUT0", "one"], ["OUTPUT0"])],
        [("INPUT0", TensorProto.FLOAT, ["batch", 16])],
        [("OUTPUT0", TensorProto.FLOAT, ["batch", 16])],
        {"one": np.ones(1, np.float32)},
    )


def identity(element: int) -> onnx.ModelProto:
    """OUTPUT0 = INPUT0 over [-1,-1] of any element type."""
    return build(
        [helper.make_node("Identity", ["INPUT0"], ["OUTPUT0"])],
        [("INPUT0", element, ["batch", "n"])],
        [("OUTPUT0", element, ["batch", "n"])],
    )


def add_sub(element: int) -> onnx.ModelProto:
    """OUTPUT0 is INPUT0 + INPUT1, OUTPUT1 is INPUT0 - INPUT1, over [-1,16]: Triton's `simple`."""
    return build(
        [
            helper.make_node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]),
            helper.make_node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"]),
        ],
        [(name, element, ["batch", 16]) for name in ("INPUT0", "INPUT1")],
        [(name, element, ["batch", 16]) for name in ("OUTPUT0", "OUTPUT1")],
    )


def conv(channels: int = 128, size: int = 12) -> onnx.ModelProto:
    """A 3x3 convolution over FP32 [-1,128,12,12]: about half a millisecond on two threads."""
    weights = np.random.default_rng(7).standard_normal((channels, channels, 3, 3)) / channels
    return build(
        [helper.make_node("Conv", ["INPUT0", "weights"], ["OUTPUT0"], pads=[1, 1, 1, 1])],
        [("INPUT0", TensorProto.FLOAT, ["batch", channels, size, size])],
        [("OUTPUT0", TensorProto.FLOAT, ["batch", channels, size, size])],
        {"weights": weights.astype(np.float32)},
    )


def dynamic() -> onnx.ModelProto:
    """OUTPUT0 is each row of FP32 [-1,-1,-1] transposed: its shape differs from the input's."""
    return build(
        [helper.make_node("Transpose", ["INPUT0"], ["OUTPUT0"], perm=[0, 2, 1])],
        [("INPUT0", TensorProto.FLOAT, ["batch", "rows", "columns"])],
        [("OUTPUT0", TensorProto.FLOAT, ["batch", "columns", "rows"])],
    )


def scalar() -> onnx.ModelProto:
    """OUTPUT0 = INPUT0 + INPUT0 over a FP32 scalar: no dimension at all."""
    return build(
        [helper.make_node("Add", ["INPUT0", "INPUT0"], ["OUTPUT0"])],
        [("INPUT0", TensorProto.FLOAT, [])],
        [("OUTPUT0", TensorProto.FLOAT, [])],
    )


def nobatch() -> onnx.ModelProto:
    """OUTPUT0 is FP32 [3,4] transposed: every dimension is fixed, so the model cannot batch."""
    return build(
        [helper.make_node("Transpose", ["INPUT0"], ["OUTPUT0"])],
        [("INPUT0", TensorProto.FLOAT, [3, 4])],
        [("OUTPUT0", TensorProto.FLOAT, [4, 3])],
    )


def nonzero() -> onnx.ModelProto:
    """OUTPUT0 is where FP32 [-1] is not zero, INT64 [1,-1]: empty for an input of zeros."""
    return build(
        [helper.make_node("NonZero", ["INPUT0"], ["OUTPUT0"])],
        [("INPUT0", TensorProto.FLOAT, ["n"])],
        [("OUTPUT0", TensorProto.INT64, [1, "found"])],
    )


def passthrough() -> onnx.ModelProto:
    """OUTPUT is INPUT0 itself, FP32 [-1,-1], beside a computed output: one tensor, two names."""
    return build(
        [helper.make_node("Neg", ["INPUT0"], ["OUTPUT0"])],
        [("INPUT0", TensorProto.FLOAT, ["batch", "n"])],
        [
            ("INPUT0", TensorProto.FLOAT, ["batch", "n"]),
            ("OUTPUT0", TensorProto.FLOAT, ["batch", "n"]),
        ],
    )


def rotate() -> onnx.ModelProto:
    """OUTPUT0 is FP32 [-1,-1] transposed: it seems to batch, and does not."""
    return build(
        [helper.make_node("Transpose", ["INPUT0"], ["OUTPUT0"])],
        [("INPUT0", TensorProto.FLOAT, ["rows", "columns"])],
        [("OUTPUT0", TensorProto.FLOAT, ["columns", "rows"])],
    )


def untyped() -> onnx.ModelProto:
    """OUTPUT0 = INPUT0 + 1 over FP32 [-1,16]; the file leaves the output's shape to inference."""
    model = tiny()
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return model


def external() -> onnx.ModelProto:
    """The tiny model with its constant in a file of its own, as models above 2 GB have it."""
    model = tiny()
    constant = model.graph.initializer[0]
    constant.ClearField("raw_data")
    constant.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "weights.bin", "offset": "0", "length": "4"}.items():
        constant.external_data.add(key=key, value=value)
    return model


EXTERNAL_WEIGHTS = np.ones(1, np.float32).tobytes()


def strings() -> onnx.ModelProto:
    """OUTPUT0 is INPUT0 and INPUT1, BYTES [-1,-1], side by side."""
    return build(
        [helper.make_node("Concat", ["INPUT0", "INPUT1"], ["OUTPUT0"], axis=1)],
        [
            ("INPUT0", TensorProto.STRING, ["batch", "n"]),
            ("INPUT1", TensorProto.STRING, ["batch", "m"]),
        ],
        [("OUTPUT0", TensorProto.STRING, ["batch", "n_plus_m"])],
    )


def classifier() -> onnx.ModelProto:
    """OUTPUT0 = softmax of FP32 [-1,4]; its repository folder has a labels file."""
    return build(
        [helper.make_node("Softmax", ["INPUT0"], ["OUTPUT0"], axis=-1)],
        [("INPUT0", TensorProto.FLOAT, ["batch", 4])],
        [("OUTPUT0", TensorProto.FLOAT, ["batch", 4])],
    )


def lookup() -> onnx.ModelProto:
    """OUTPUT0 = table[INPUT0] for INT64 [-1,1]: fails while it runs for an index outside 0..9."""
    return build(
        [helper.make_node("Gather", ["table", "INPUT0"], ["OUTPUT0"])],
        [("INPUT0", TensorProto.INT64, ["batch", 1])],
        [("OUTPUT0", TensorProto.FLOAT, ["batch", 1])],
        {"table": np.arange(10, dtype=np.float32) * 10},
    )


def overridable() -> onnx.ModelProto:
    """OUTPUT0 = INPUT0 + bias over FP32 [-1,4], where `bias` is an input too (old files)."""
    return build(
        [helper.make_node("Add", ["INPUT0", "bias"], ["OUTPUT0"])],
        [("INPUT0", TensorProto.FLOAT, ["batch", 4]), ("bias", TensorProto.FLOAT, [4])],
        [("OUTPUT0", TensorProto.FLOAT, ["batch", 4])],
        {"bias": np.arange(4, dtype=np.float32)},
    )


def sequence() -> onnx.ModelProto:
    """Splits FP32 [-1,4] into a sequence: a type that the Open Inference Protocol cannot carry."""
    graph = helper.make_graph(
        [helper.make_node("SplitToSequence", ["INPUT0"], ["OUTPUT0"])],
        "graph",
        [helper.make_tensor_value_info("INPUT0", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_sequence_value_info("OUTPUT0", TensorProto.FLOAT, None)],
    )
    model: onnx.ModelProto = helper.make_model(
        graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)]
    )
    return model


def accumulator() -> onnx.ModelProto:
    """OUTPUT is the sum of a sequence's FP32 INPUT [-1,1]: the state SUM_IN becomes SUM_OUT."""
    return build(
        [
            helper.make_node("Add", ["INPUT", "SUM_IN"], ["SUM_OUT"]),
            helper.make_node("Identity", ["SUM_OUT"], ["OUTPUT"]),
        ],
        [(name, TensorProto.FLOAT, ["batch", 1]) for name in ("INPUT", "SUM_IN")],
        [(name, TensorProto.FLOAT, ["batch", 1]) for name in ("OUTPUT", "SUM_OUT")],
    )


def history() -> onnx.ModelProto:
    """OUTPUT is every FP32 INPUT [-1,1] of a sequence so far: a state that grows."""
    return build(
        [
            helper.make_node("Concat", ["PAST", "INPUT"], ["PRESENT"], axis=1),
            helper.make_node("Identity", ["PRESENT"], ["OUTPUT"]),
        ],
        [("INPUT", TensorProto.FLOAT, ["batch", 1]), ("PAST", TensorProto.FLOAT, ["batch", "n"])],
        [(name, TensorProto.FLOAT, ["batch", "n_plus_1"]) for name in ("OUTPUT", "PRESENT")],
    )


def sentence() -> onnx.ModelProto:
    """OUTPUT is what was said before and BYTES INPUT [-1,1], joined: a state of strings."""
    return build(
        [
            helper.make_node("Concat", ["PAST", "INPUT"], ["PRESENT"], axis=1),
            helper.make_node("Identity", ["PRESENT"], ["OUTPUT"]),
        ],
        [("INPUT", TensorProto.STRING, ["batch", 1]), ("PAST", TensorProto.STRING, ["batch", "n"])],
        [(name, TensorProto.STRING, ["batch", "n_plus_1"]) for name in ("OUTPUT", "PRESENT")],
    )


def controls(flag: int, correlation_id: int) -> onnx.ModelProto:
    """Answers the control inputs of sequence batching as they come, beside FP32 INPUT [-1,1]."""
    flags = {"START": "STARTED", "READY": "WAS_READY", "END": "ENDED"}
    shape = ["batch", 1]
    return build(
        [
            helper.make_node("Identity", [name], [answer])
            for name, answer in {"INPUT": "OUTPUT", **flags, "CORRID": "ID"}.items()
        ],
        [
            ("INPUT", TensorProto.FLOAT, shape),
            *((name, flag, shape) for name in flags),
            ("CORRID", correlation_id, shape),
        ],
        [
            ("OUTPUT", TensorProto.FLOAT, shape),
            *((name, flag, shape) for name in flags.values()),
            ("ID", correlation_id, shape),
        ],
    )
