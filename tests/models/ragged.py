"""Graphs whose inputs are ragged: the elements of all requests behind one another."""

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.models.graphs import build


def segments() -> onnx.ModelProto:
    """SUM [-1,1] of each request's part of FP32 INPUT [-1], which BOUNDS tells apart; DOUBLED [-1]
    is 2 * INPUT.
    """
    return build(
        [
            helper.make_node("CumSum", ["INPUT", "zero"], ["sums"]),
            helper.make_node("Concat", ["nothing", "sums"], ["sums_before"], axis=0),
            helper.make_node("Gather", ["sums_before", "BOUNDS"], ["at_bounds"]),
            helper.make_node("Slice", ["at_bounds", "one", "last", "axis"], ["ends"]),
            helper.make_node("Slice", ["at_bounds", "first", "minus_one", "axis"], ["begins"]),
            helper.make_node("Sub", ["ends", "begins"], ["totals"]),
            helper.make_node("Unsqueeze", ["totals", "one"], ["SUM"]),
            helper.make_node("Add", ["INPUT", "INPUT"], ["DOUBLED"]),
        ],
        [("INPUT", TensorProto.FLOAT, ["n"]), ("BOUNDS", TensorProto.INT32, ["requests_plus_1"])],
        [("SUM", TensorProto.FLOAT, ["requests", 1]), ("DOUBLED", TensorProto.FLOAT, ["n"])],
        {
            "zero": np.array(0, np.int64),
            "nothing": np.zeros(1, np.float32),
            "axis": np.zeros(1, np.int64),
            "first": np.zeros(1, np.int64),
            "one": np.ones(1, np.int64),
            "minus_one": np.array([-1], np.int64),
            "last": np.array([np.iinfo(np.int64).max], np.int64),
        },
    )


def batch_inputs(element: int) -> onnx.ModelProto:
    """SEEN [-1,-1] is, for each row of the batch, all that the model was given, in order: one batch
    input of each kind (of LARGEST its size and sum) and INPUT, FP32 [-1].
    """
    flat = {"COUNT": ["a"], "ENDS": ["b"], "BOUNDS": ["c"], "FLAT_SHAPES": ["d"]}
    seen = ["COUNT", "ENDS", "BOUNDS", "largest", "LARGEST_SUM", "shapes", "FLAT_SHAPES"]
    return build(
        [
            helper.make_node("Shape", ["LARGEST"], ["largest"]),
            helper.make_node("ReduceSum", ["LARGEST"], ["LARGEST_SUM"], keepdims=1),
            helper.make_node("Reshape", ["SHAPES", "minus_one"], ["shapes"]),
            *(
                helper.make_node("Cast", [name], [f"{name}_f"], to=TensorProto.FLOAT)
                for name in seen
            ),
            helper.make_node("Concat", [*(f"{n}_f" for n in seen), "INPUT"], ["all"], axis=0),
            helper.make_node("Shape", ["SHAPES"], ["rows"], start=0, end=1),
            helper.make_node("Shape", ["all"], ["width"]),
            helper.make_node("Concat", ["rows", "width"], ["shape"], axis=0),
            helper.make_node("Expand", ["all", "shape"], ["SEEN"]),
        ],
        [
            ("INPUT", TensorProto.FLOAT, ["n"]),
            *((name, element, dims) for name, dims in flat.items()),
            ("LARGEST", element, ["largest"]),
            ("SHAPES", element, ["batch", 2]),
        ],
        [("SEEN", TensorProto.FLOAT, ["batch", "all"])],
        {"minus_one": np.array([-1], np.int64)},
    )


def flat_strings() -> onnx.ModelProto:
    """OUTPUT is INPUT, BYTES [-1]."""
    return build(
        [helper.make_node("Identity", ["INPUT"], ["OUTPUT"])],
        [("INPUT", TensorProto.STRING, ["n"])],
        [("OUTPUT", TensorProto.STRING, ["n"])],
    )


_KINDS = {
    "COUNT": "ELEMENT_COUNT",
    "ENDS": "ACCUMULATED_ELEMENT_COUNT",
    "BOUNDS": "ACCUMULATED_ELEMENT_COUNT_WITH_ZERO",
    "LARGEST": "MAX_ELEMENT_COUNT_AS_SHAPE",
    "SHAPES": "ITEM_SHAPE",
    "FLAT_SHAPES": "ITEM_SHAPE_FLATTEN",
}
# Three rows make a batch, however long that takes.
_BATCHING = """backend: "onnxruntime"
max_batch_size: 3
dynamic_batching { max_queue_delay_microseconds: 60000000 }
instance_group [ { count: 1 } ]
"""


def _batch_inputs_config(data_type: str) -> str:
    items = [
        f'{{ kind: BATCH_{kind} target_name: "{name}" data_type: {data_type} '
        'source_input: "INPUT" }'
        for name, kind in _KINDS.items()
    ]
    return _BATCHING + (
        'input [ { name: "INPUT" data_type: TYPE_FP32 dims: [ -1, -1 ] allow_ragged_batch: true } ]'
        f"\nbatch_input [ {', '.join(items)} ]\n"
    )


CONFIGS = {
    "batch_inputs_int32": _batch_inputs_config("TYPE_INT32"),
    "batch_inputs_fp32": _batch_inputs_config("TYPE_FP32"),
    "segments": _BATCHING
    + """input [ { name: "INPUT" data_type: TYPE_FP32 dims: [ -1 ] allow_ragged_batch: true } ]
output [ { name: "SUM" data_type: TYPE_FP32 dims: [ 1 ] },
         { name: "DOUBLED" data_type: TYPE_FP32 dims: [ -1 ] } ]
batch_input [ { kind: BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO target_name: "BOUNDS"
                data_type: TYPE_INT32 source_input: "INPUT" } ]
batch_output [ { kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: "DOUBLED"
                 source_input: "INPUT" } ]
""",
    "flat_strings": _BATCHING
    + """input [ { name: "INPUT" data_type: TYPE_STRING dims: [ -1 ] allow_ragged_batch: true } ]
output [ { name: "OUTPUT" data_type: TYPE_STRING dims: [ -1 ] } ]
batch_output [ { kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: "OUTPUT"
                 source_input: "INPUT" } ]
""",
}
