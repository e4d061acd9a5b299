"""Bodies and messages that expand to far more than may be in flight (HARDENING 12): refused on both
fronts, and what they took is given back.
"""

import http.client
import zlib
from pathlib import Path

import grpc
import pytest

from tests.python.conftest import ServerProcess, write_model

_MIB = 1 << 20
_LIMIT_BYTES = 2 * _MIB
_EXPANDED = bytes(24 * _MIB)
_ROUNDS = 20
# Each thread of the server keeps some freed memory for itself once.
_SETTLING_ROUNDS = 4
# zlib's window bits: 16 + 15 writes gzip, 15 the zlib format, which HTTP and gRPC call deflate.
_WINDOW_BITS = {"gzip": 31, "deflate": 15}
_GRPC_COMPRESSION = {"gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}


def memory_bytes(server: ServerProcess, field: str) -> int:
    """VmRSS, or VmHWM, the highest that was."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith(field)]
    return int(line.split()[1]) * 1024


def bomb_http(server: ServerProcess, coding: str) -> None:
    compressor = zlib.compressobj(1, zlib.DEFLATED, _WINDOW_BITS[coding])
    body = compressor.compress(_EXPANDED) + compressor.flush()
    assert len(body) < _MIB
    connection = http.client.HTTPConnection(server.url("http"), timeout=60)
    try:
        connection.request("POST", "/v2/models/m/infer", body, {"Content-Encoding": coding})
        response = connection.getresponse()
        assert response.status == 400
        assert f"maximum allowed input size of {_LIMIT_BYTES} bytes" in response.read().decode()
    finally:
        connection.close()


def bomb_grpc(server: ServerProcess, coding: str) -> None:
    with grpc.insecure_channel(server.url("grpc")) as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as refused:
            infer(_EXPANDED, compression=_GRPC_COMPRESSION[coding])
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "too many bytes of requests in flight" in refused.value.details()


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("send", [bomb_http, bomb_grpc])
def test_decompression_bombs_are_refused_and_leave_no_memory_behind(
    start_server, tmp_path, send, coding
):
    write_model(tmp_path, "m")
    server = start_server(
        f"--model-repository={tmp_path}",
        f"--http-max-input-size={_LIMIT_BYTES}",
        f"--max-inflight-bytes={_LIMIT_BYTES}",
    ).wait_started()
    for _ in range(_SETTLING_ROUNDS):
        send(server, coding)
    settled = memory_bytes(server, "VmRSS")
    for _ in range(_ROUNDS):
        send(server, coding)
    assert memory_bytes(server, "VmRSS") - settled < 4 * _LIMIT_BYTES
    assert memory_bytes(server, "VmHWM") - settled < len(_EXPANDED) // 2
    assert server.stop() == 0
