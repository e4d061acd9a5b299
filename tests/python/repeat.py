"""The repeat backend: its configuration and its inputs."""

from collections.abc import Sequence
from typing import Any

import numpy as np

REPEAT_CONFIG = """
backend: "repeat"
max_batch_size: 0
model_transaction_policy { decoupled: true }
input [ { name: "IN" data_type: TYPE_INT32 dims: [ -1 ] },
        { name: "DELAY" data_type: TYPE_UINT32 dims: [ -1 ] },
        { name: "WAIT" data_type: TYPE_UINT32 dims: [ 1 ] } ]
output [ { name: "OUT" data_type: TYPE_INT32 dims: [ 1 ] },
         { name: "IDX" data_type: TYPE_UINT32 dims: [ 1 ] } ]
"""


def repeat_spec(name: str = "repeat") -> dict[str, Any]:
    """The same for an engine without a control plane."""

    def tensor(tensor_name: str, kind: str, dim: int) -> dict[str, Any]:
        return {"name": tensor_name, "type": kind, "dims": [dim]}

    return {
        "name": name,
        "version": 1,
        "backend": "repeat",
        "platform": "",
        "max_batch_size": 0,
        "decoupled": True,
        "inputs": [
            tensor("IN", "INT32", -1),
            tensor("DELAY", "UINT32", -1),
            tensor("WAIT", "UINT32", 1),
        ],
        "outputs": [tensor("OUT", "INT32", 1), tensor("IDX", "UINT32", 1)],
        "instance_groups": [{"name": "cpu", "count": 1}],
    }


def repeat_arrays(
    values: Sequence[int], delays_ms: Sequence[int] = (), wait_ms: int = 0
) -> dict[str, Any]:
    return {
        "IN": np.array(values, np.int32),
        "DELAY": np.array(delays_ms or [0] * len(values), np.uint32),
        "WAIT": np.array([wait_ms], np.uint32),
    }


def repeat_json(
    values: Sequence[int], delays_ms: Sequence[int] = (), **members: Any
) -> dict[str, Any]:
    return {
        "IN": list(values),
        "DELAY": list(delays_ms or [0] * len(values)),
        "WAIT": 0,
        **members,
    }
