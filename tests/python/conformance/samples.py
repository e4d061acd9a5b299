"""Values of every data type that are hard to carry."""

import ml_dtypes
import numpy as np

SAMPLES = {
    "BOOL": np.array([[True, False, True]]),
    "UINT8": np.array([[0, 1, 255]], np.uint8),
    "UINT16": np.array([[0, 1, 65535]], np.uint16),
    "UINT32": np.array([[0, 1, 2**32 - 1]], np.uint32),
    "UINT64": np.array([[0, 2**53 + 1, 2**64 - 1]], np.uint64),
    "INT8": np.array([[-128, 0, 127]], np.int8),
    "INT16": np.array([[-(2**15), 0, 2**15 - 1]], np.int16),
    "INT32": np.array([[-(2**31), 0, 2**31 - 1]], np.int32),
    "INT64": np.array([[-(2**63), 2**53 + 1, 2**63 - 1]], np.int64),
    "FP16": np.array([[1.5, -0.0, 6e-8, np.inf]], np.float16),
    "FP32": np.array([[1.5, np.nan, -np.inf, 1e-45]], np.float32),
    "FP64": np.array([[0.1, np.nan, np.inf, 5e-324]], np.float64),
    "BYTES": np.array([[b"", b"a\0b", b"\xff\xfe", "ü".encode()]], np.object_),
    "BF16": np.array([[1.5, -2.0, 0.0, 3e38]], ml_dtypes.bfloat16),
}
# What JSON cannot carry, or carries as text: bytes that are not UTF-8; two types without a JSON
# form.
JSON_SAMPLES = {
    **{name: value for name, value in SAMPLES.items() if name not in ("FP16", "BF16")},
    "BYTES": np.array([[b"", b"plain", 'ü\n"\\'.encode()]], np.object_),
}


def same(left: np.ndarray, right: np.ndarray) -> bool:
    """Equal shape and values; NaN equals NaN."""
    if left.dtype.kind in "OS" or right.dtype.kind in "OS":
        return left.shape == right.shape and left.tolist() == right.tolist()
    return left.shape == right.shape and np.array_equal(
        left, right, equal_nan=left.dtype.kind == "f"
    )
