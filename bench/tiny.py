"""The tiny request that every front is measured with: FP32 [1,16], over gRPC and HTTP."""

import struct
from pathlib import Path

import harness  # noqa: F401  sets the import path

# isort: split
from fastserve.tools.perf import payload
from fastserve.tools.perf.model import ModelUnderLoad, Target, TensorSpec
from fastserve.tools.perf.tensors import TensorData

INFER = "/inference.GRPCInferenceService/ModelInfer"
MODEL = ModelUnderLoad("tiny", "", (TensorSpec("INPUT0", "FP32", (-1, 16)),), ("OUTPUT0",), 4)
TENSOR = TensorData("INPUT0", "FP32", (1, 16), struct.pack("<16f", *range(16)))


def grpc_message(model: ModelUnderLoad = MODEL) -> bytes:
    return payload.grpc_message(model, [TENSOR])


def grpc_file(directory: Path, message: bytes | None = None) -> Path:
    """The message with its length prefix, as h2load posts it."""
    message = grpc_message() if message is None else message
    path = directory / "message"
    path.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
    return path


def http_body(*, as_json: bool) -> tuple[bytes, dict[str, str]]:
    """Body and headers of the request as JSON, or as JSON with binary tensors both ways."""
    body, json_size = payload.http_body([TENSOR], json_input=as_json, json_output=as_json)
    if json_size is None:
        return body, {"Content-Type": "application/json"}
    return body, {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(json_size),
    }


def http_request(port: int, *, as_json: bool) -> bytes:
    body, headers = http_body(as_json=as_json)
    size = headers.get("Inference-Header-Content-Length")
    target = Target("http", "127.0.0.1", str(port), "", ())
    return payload.http_request(target, MODEL, body, int(size) if size else None)
