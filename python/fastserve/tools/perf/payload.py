"""Requests as they go over the wire: KServe v2 over HTTP (binary tensors or JSON) and over gRPC."""

import json
from collections.abc import Sequence
from typing import Any

from fastserve.tools.perf.endpoint import model_path
from fastserve.tools.perf.model import ModelUnderLoad, Target
from fastserve.tools.perf.tensors import TensorData
from fastserve.tools.perf.wire import length_field, packed_field


def grpc_message(model: ModelUnderLoad, tensors: Sequence[TensorData]) -> bytes:
    """inference.ModelInferRequest with raw_input_contents."""
    parts = [length_field(1, model.name)]
    if model.version:
        parts.append(length_field(2, model.version))
    for tensor in tensors:
        described = length_field(1, tensor.name) + length_field(2, tensor.datatype)
        parts.append(length_field(5, described + packed_field(3, tensor.shape)))
    parts.extend(length_field(7, tensor.raw) for tensor in tensors)
    return b"".join(parts)


def http_body(
    tensors: Sequence[TensorData], *, json_input: bool, json_output: bool
) -> tuple[bytes, int | None]:
    """The body of an inference request, and the length of its JSON part when tensors follow it."""
    inputs = []
    for tensor in tensors:
        item: dict[str, Any] = {
            "name": tensor.name,
            "shape": list(tensor.shape),
            "datatype": tensor.datatype,
        }
        if json_input:
            item["data"] = tensor.values()
        else:
            item["parameters"] = {"binary_data_size": len(tensor.raw)}
        inputs.append(item)
    request: dict[str, Any] = {"inputs": inputs}
    if not json_output:
        request["parameters"] = {"binary_data_output": True}
    head = json.dumps(request, separators=(",", ":")).encode()
    if json_input:
        return head, None
    return head + b"".join(tensor.raw for tensor in tensors), len(head)


def http_request(
    target: Target, model: ModelUnderLoad, body: bytes, json_size: int | None
) -> bytes:
    """The whole HTTP/1.1 request."""
    binary = json_size is not None
    lines = [
        f"POST {model_path(model.name, model.version)}/infer HTTP/1.1",
        f"Host: {target.host}:{target.port}",
        f"Content-Type: application/{'octet-stream' if binary else 'json'}",
        f"Content-Length: {len(body)}",
    ]
    if binary:
        lines.append(f"Inference-Header-Content-Length: {json_size}")
    lines.extend(f"{name}: {value}" for name, value in target.headers)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
