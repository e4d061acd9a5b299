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


MODELS = {
    "add_sub/1": add_sub,
    "batched/1": lambda: times(2, ["batch", 16]),
    "classifier/1": classifier,
    "versions/1": lambda: times(1, ["batch", 4]),
    "versions/2": lambda: times(2, ["batch", 4]),
    "versions/3": lambda: times(3, ["batch", 4]),
    "running_sum/1": running_sum,
    "single/1": lambda: times(0.5, [3, "n"]),
}


def main() -> None:
    folder = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "models"
    for name, make in MODELS.items():
        version = Path(folder) / name
        version.mkdir(parents=True, exist_ok=True)
        save(make(), str(version / "model.onnx"))
    # The identity backend and ensembles need no file, only a version folder.
    for name in ("slow_identity", "priorities", "tuned", "cached", "pipeline"):
        (Path(folder) / name / "1").mkdir(parents=True, exist_ok=True)


if __name__ == "__main__":
    main()
