"""Small synthetic ONNX models that tests, the demo of failures and the bench share.

`MODELS` maps a name to a function that returns the bytes of the model file. `write_repository` lays
chosen models out as a Triton model repository. `python -m tests.models DIR [NAME...]` does the same
from a shell; with `--data` it rewrites the files under tests/models/data that the C++ tests read.
"""

from tests.models.catalog import CONTROL_TYPES, IDENTITY_TYPES, MODELS, model_bytes
from tests.models.repository import write_data, write_repository

__all__ = [
    "CONTROL_TYPES",
    "IDENTITY_TYPES",
    "MODELS",
    "model_bytes",
    "write_data",
    "write_repository",
]
