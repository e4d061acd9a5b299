"""Writes the seed corpus of the inference codecs with the official client's own encoders.

Run it from the repository root: python tests/fuzz/make_seeds.py. Besides the seeds it writes
tests/cpp/protocol/golden.txt, which tells the C++ tests what each seed holds:
    FILE INPUT DATATYPE DIMS HEX-OF-THE-TENSOR'S-BYTES
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import tritonclient.grpc as grpcclient
import tritonclient.http as httpclient
from tritonclient.grpc import service_pb2
from tritonclient.grpc._utils import _get_inference_request
from tritonclient.utils import np_to_triton_dtype, serialize_byte_tensor

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT / "tests" / "fuzz" / "corpus"
GOLDEN = ROOT / "tests" / "cpp" / "protocol" / "golden.txt"
CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def sample(dtype: type) -> np.ndarray:
    """Six elements of a type, with its extremes."""
    if dtype is bool:
        return np.array([[True, False, True], [False, False, True]])
    if dtype is object:
        texts = [b"", b"a\x00b", "naïve €".encode(), b'quote " and \\', b"\n\t", b"plain"]
        return np.array(texts, dtype=object).reshape(2, 3)
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        return np.array([[limits.min, limits.max, 0], [1, 2, 3]], dtype=dtype)
    limits = np.finfo(dtype)
    return np.array([[limits.max, limits.tiny, 0.1], [-0.0, np.inf, np.nan]], dtype=dtype)


DTYPES = [bool, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]
ALL = {
    np_to_triton_dtype(np.dtype(t)): sample(t) for t in [*DTYPES, np.float32, np.float64, object]
}


def tensor_bytes(array: np.ndarray) -> bytes:
    if array.dtype == object:
        return bytes(serialize_byte_tensor(array).item())
    return array.tobytes()


class Writer:
    """Collects seeds and the lines of the golden file."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def seed(self, name: str, content: bytes) -> None:
        path = CORPUS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def golden(self, name: str, datatype: str, array: np.ndarray) -> None:
        dims = ",".join(str(dim) for dim in array.shape)
        self.lines.append(f"{name} INPUT {datatype} {dims} {tensor_bytes(array).hex()}")


def grpc_request(array: np.ndarray, datatype: str) -> service_pb2.ModelInferRequest:
    tensor = grpcclient.InferInput("INPUT", list(array.shape), datatype)
    tensor.set_data_from_numpy(array)
    return _get_inference_request(
        inputs=[tensor],
        model_name="model",
        model_version="3",
        request_id="request-1",
        outputs=[grpcclient.InferRequestedOutput("OUTPUT", class_count=2)],
        sequence_id=42,
        sequence_start=True,
        sequence_end=False,
        priority=7,
        timeout=1000,
        parameters={"custom": "value", "flag": True, "number": 5},
    )


def write_grpc(writer: Writer) -> None:
    for datatype, array in ALL.items():
        request = grpc_request(array, datatype)
        writer.seed(f"infer_proto/raw_{datatype}", request.SerializeToString(deterministic=True))
        writer.golden(f"infer_proto/raw_{datatype}", datatype, array)
        del request.raw_input_contents[:]
        contents = getattr(request.inputs[0].contents, CONTENTS[datatype])
        contents.extend(array.flatten().tolist())
        writer.seed(f"infer_proto/typed_{datatype}", request.SerializeToString(deterministic=True))
        writer.golden(f"infer_proto/typed_{datatype}", datatype, array)


def http_body(array: np.ndarray, datatype: str, binary: bool) -> bytes:
    tensor = httpclient.InferInput("INPUT", list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    body, json_size = httpclient.InferenceServerClient.generate_request_body(
        [tensor],
        outputs=[httpclient.InferRequestedOutput("OUTPUT", binary_data=binary, class_count=2)],
        request_id="request-1",
        sequence_id=42,
        sequence_start=True,
        sequence_end=False,
        priority=7,
        timeout=1000,
        parameters={"custom": "value", "flag": True, "number": 5},
    )
    # The fuzz target's format: the size of the JSON part, then the body.
    return int(json_size or len(body)).to_bytes(4, "little") + bytes(body)


def json_array(datatype: str, array: np.ndarray) -> np.ndarray:
    """What the client can send as JSON: text elements only."""
    if datatype != "BYTES":
        return array
    texts = ["", "a\x00b", "naïve €", 'quote " and \\', "\n\t", "plain"]
    return np.array(texts, dtype=object).reshape(array.shape)


def write_http(writer: Writer) -> None:
    for datatype, array in ALL.items():
        writer.seed(f"infer_json/binary_{datatype}", http_body(array, datatype, True))
        writer.golden(f"infer_json/binary_{datatype}", datatype, array)
        text = json_array(datatype, array)
        writer.seed(f"infer_json/text_{datatype}", http_body(text, datatype, False))
        writer.golden(f"infer_json/text_{datatype}", datatype, array)


def grpc_response() -> service_pb2.ModelInferResponse:
    response = service_pb2.ModelInferResponse(model_name="model", model_version="3", id="request-1")
    response.parameters["triton_final_response"].bool_param = True
    for datatype, array in ALL.items():
        response.outputs.add(name=f"OUTPUT_{datatype}", datatype=datatype, shape=array.shape)
        response.raw_output_contents.append(tensor_bytes(array))
    return response


def cached_text(text: bytes) -> bytes:
    return struct.pack("<I", len(text)) + text


def cached_output(name: bytes, kind: int, dims: list[int], data: bytes) -> bytes:
    """One output as csrc/cache/response_wire.h has it; `kind` counts as in csrc/inference."""
    shape = struct.pack(f"<BI{len(dims)}q", kind, len(dims), *dims)
    return cached_text(name) + shape + struct.pack("<Q", len(data)) + data


def write_cached_responses() -> None:
    fp32, strings = 11, 13
    outputs = [
        cached_output(b"OUTPUT0", fp32, [1, 2], struct.pack("<2f", 1, 2)),
        cached_output(b"OUTPUT1", strings, [2], cached_text(b"") + cached_text(b"abc")),
        cached_output(b"empty", fp32, [0], b""),
    ]
    values = [
        b"\0\1",
        struct.pack("<Bq", 1, -1),
        struct.pack("<BQ", 2, 1),
        struct.pack("<Bd", 3, 0.5),
    ]
    values.append(b"\4" + cached_text(b"x"))
    parameters = [cached_text(b"p%d" % i) + value for i, value in enumerate(values)]
    directory = CORPUS / "cached_response"
    directory.mkdir(parents=True, exist_ok=True)
    for name, held, extra in (
        ("full", outputs, parameters),
        ("one", outputs[:1], []),
        ("none", [], []),
    ):
        parts = [
            b"FSR1",
            struct.pack("<I", len(held)),
            *held,
            struct.pack("<I", len(extra)),
            *extra,
        ]
        (directory / name).write_bytes(b"".join(parts))


def main() -> None:
    write_cached_responses()
    writer = Writer()
    write_grpc(writer)
    write_http(writer)
    response = grpc_response()
    stream = service_pb2.ModelStreamInferResponse(infer_response=response)
    failure = service_pb2.ModelStreamInferResponse(error_message="it failed")
    failure.infer_response.id = "request-1"
    for name, message in (("response", response), ("stream", stream), ("stream_error", failure)):
        encoded = message.SerializeToString(deterministic=True)
        writer.lines.append(f"{name} - - - {encoded.hex()}")
    GOLDEN.write_text("\n".join(writer.lines) + "\n")


if __name__ == "__main__":
    main()
