"""Every synthetic model by name."""

from collections.abc import Callable
from functools import partial

import onnx
from onnx import TensorProto

from tests.models import graphs, ragged

# Protocol data type -> ONNX element type, for the `identity_<type>` models.
IDENTITY_TYPES: dict[str, int] = {
    "bool": TensorProto.BOOL,
    "uint8": TensorProto.UINT8,
    "uint16": TensorProto.UINT16,
    "uint32": TensorProto.UINT32,
    "uint64": TensorProto.UINT64,
    "int8": TensorProto.INT8,
    "int16": TensorProto.INT16,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "fp16": TensorProto.FLOAT16,
    "fp32": TensorProto.FLOAT,
    "fp64": TensorProto.DOUBLE,
    "bytes": TensorProto.STRING,
    "bf16": TensorProto.BFLOAT16,
}

# Every kind of control tensor: name -> element types of the flags and of the correlation id.
CONTROL_TYPES: dict[str, tuple[int, int]] = {
    "controls_int32_uint64": (TensorProto.INT32, TensorProto.UINT64),
    "controls_fp32_int64": (TensorProto.FLOAT, TensorProto.INT64),
    "controls_bool_uint32": (TensorProto.BOOL, TensorProto.UINT32),
    "controls_int32_int32": (TensorProto.INT32, TensorProto.INT32),
    "controls_int32_string": (TensorProto.INT32, TensorProto.STRING),
}

ModelSource = Callable[[], bytes]


def _serialized(builder: Callable[[], onnx.ModelProto]) -> ModelSource:
    return lambda: builder().SerializeToString()


def _broken() -> bytes:
    """Not a model: a plausible first byte, then garbage."""
    return b"\x08\x0a" + bytes(range(255, 0, -1)) * 4


MODELS: dict[str, ModelSource] = {
    "tiny": _serialized(graphs.tiny),
    "add_sub_fp32": _serialized(partial(graphs.add_sub, TensorProto.FLOAT)),
    "add_sub_int32": _serialized(partial(graphs.add_sub, TensorProto.INT32)),
    "conv": _serialized(graphs.conv),
    "dynamic": _serialized(graphs.dynamic),
    "scalar": _serialized(graphs.scalar),
    "nobatch": _serialized(graphs.nobatch),
    "nonzero": _serialized(graphs.nonzero),
    "passthrough": _serialized(graphs.passthrough),
    "rotate": _serialized(graphs.rotate),
    "untyped": _serialized(graphs.untyped),
    "strings": _serialized(graphs.strings),
    "classifier": _serialized(graphs.classifier),
    "lookup": _serialized(graphs.lookup),
    "overridable": _serialized(graphs.overridable),
    "sequence": _serialized(graphs.sequence),
    "accumulator": _serialized(graphs.accumulator),
    "history": _serialized(graphs.history),
    "sentence": _serialized(graphs.sentence),
    "segments": _serialized(ragged.segments),
    "batch_inputs_int32": _serialized(partial(ragged.batch_inputs, TensorProto.INT32)),
    "batch_inputs_fp32": _serialized(partial(ragged.batch_inputs, TensorProto.FLOAT)),
    "flat_strings": _serialized(ragged.flat_strings),
    "broken": _broken,
    **{
        name: _serialized(partial(graphs.controls, *elements))
        for name, elements in CONTROL_TYPES.items()
    },
    **{
        f"identity_{name}": _serialized(partial(graphs.identity, element))
        for name, element in IDENTITY_TYPES.items()
    },
}


def model_bytes(name: str) -> bytes:
    """The file of one model. Raises KeyError with the known names for an unknown one."""
    if name not in MODELS:
        raise KeyError(f"no synthetic model '{name}'; there are {', '.join(sorted(MODELS))}")
    return MODELS[name]()
