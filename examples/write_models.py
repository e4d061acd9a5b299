"""Writes the ONNX files of examples/models next to their config.pbtxt (a few hundred bytes each).

Usage: python examples/write_models.py [DIR]    needs `pip install onnx`
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, checker, helper, numpy_helper, save


def tensor(name: str, shape: list[int | str | None], kind: int = TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def model(graph: GraphProto) -> ModelProto:
    opset = [helper.make_opsetid("", 17)]
    made = helper.make_model(graph, opset_imports=opset, ir_version=10)
    checker.check_model(made)
    return made


def add_sub() -> ModelProto:
    nodes = [
        helper.make_node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]),
        helper.make_node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"]),
    ]
    inputs = [tensor(f"INPUT{i}", ["batch", "n"]) for i in (0, 1)]
    outputs = [tensor(f"OUTPUT{i}", ["batch", "n"]) for i in (0, 1)]
    return model(helper.make_graph(nodes, "add_sub", inputs, outputs))


def times(factor: float, shape: list[int | str | None]) -> ModelProto:
    constant = numpy_helper.from_array(np.array(factor, np.float32), "factor")
    node = helper.make_node("Mul", ["INPUT", "factor"], ["OUTPUT"])
    graph = helper.make_graph(
        [node], "times", [tensor("INPUT", shape)], [tensor("OUTPUT", shape)], [constant]
    )
    return model(graph)


def classifier() -> ModelProto:
    """Softmax over three scores made of two features."""
    weights = np.array([[1, 0, -1], [0, 1, -1]], np.float32)
    nodes = [
        helper.make_node("MatMul", ["FEATURES", "weights"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["PROBABILITIES"], axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [tensor("FEATURES", ["batch", 2])],
        [tensor("PROBABILITIES", ["batch", 3])],
        [numpy_helper.from_array(weights, "weights")],
    )
    return model(graph)


def running_sum() -> ModelProto:
    """SUM and the state SUM_OUT are VALUE plus the state SUM_IN."""
    nodes = [
        helper.make_node("Add", ["VALUE", "SUM_IN"], ["SUM_OUT"]),
        helper.make_node("Identity", ["SUM_OUT"], ["SUM"]),
    ]
    inputs = [tensor(name, ["batch", 1]) for name in ("VALUE", "SUM_IN")]
    outputs = [tensor(name, ["batch", 1]) for name in ("SUM", "SUM_OUT")]
    return model(helper.make_graph(nodes, "running_sum", inputs, outputs))


def ragged_sum() -> ModelProto:
    """SUM of each request's values. VALUES holds those of all, BOUNDS where each begins, and
    the end. DOUBLED is 2 * VALUES.
    """
    nodes = [
        helper.make_node("CumSum", ["VALUES", "axis"], ["sums"]),
        helper.make_node("Concat", ["nothing", "sums"], ["sums_before"], axis=0),
        helper.make_node("Gather", ["sums_before", "BOUNDS"], ["at_bounds"]),
        helper.make_node("Slice", ["at_bounds", "one", "end", "zero"], ["at_ends"]),
        helper.make_node("Slice", ["at_bounds", "zero", "last", "zero"], ["at_begins"]),
        helper.make_node("Sub", ["at_ends", "at_begins"], ["totals"]),
        helper.make_node("Unsqueeze", ["totals", "one"], ["SUM"]),
        helper.make_node("Add", ["VALUES", "VALUES"], ["DOUBLED"]),
    ]
    numbers = {"zero": [0], "one": [1], "last": [-1], "end": [2**62]}
    constants = {name: np.array(value, np.int64) for name, value in numbers.items()}
    constants |= {"axis": np.array(0, np.int64), "nothing": np.zeros(1, np.float32)}
    graph = helper.make_graph(
        nodes,
        "ragged_sum",
        [tensor("VALUES", ["n"]), tensor("BOUNDS", ["m"], TensorProto.INT32)],
        [tensor("SUM", ["requests", 1]), tensor("DOUBLED", ["n"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return model(graph)


MODELS = {
    "add_sub/1": add_sub,
    "batched/1": lambda: times(2, ["batch", 16]),
    "classifier/1": classifier,
    "versions/1": lambda: times(1, ["batch", 4]),
    "versions/2": lambda: times(2, ["batch", 4]),
    "versions/3": lambda: times(3, ["batch", 4]),
    "ragged_sum/1": ragged_sum,
    "running_sum/1": running_sum,
    "single/1": lambda: times(0.5, [3, "n"]),
}


def main() -> None:
    folder = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "models"
    for name, make in MODELS.items():
        version = Path(folder) / name
        version.mkdir(parents=True, exist_ok=True)
        save(make(), str(version / "model.onnx"))
    # Built-in backends and ensembles need no file, only a version folder.
    names = "slow_identity priorities tuned cached limited pinned pipeline countdown repeat relay"
    for name in names.split():
        (Path(folder) / name / "1").mkdir(parents=True, exist_ok=True)


if __name__ == "__main__":
    main()
