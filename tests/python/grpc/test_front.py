"""The gRPC front end over real connections, with grpcio and the official client: what the
conformance suite does not reach.
"""

import queue
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from tests.python.conftest import IDENTITY_CONFIG, ServerProcess, write_model

_SLOW = IDENTITY_CONFIG + 'parameters { key: "execute_delay_ms" value { string_value: "500" } }'
_SERVICE = "/inference.GRPCInferenceService/"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    repository = tmp_path_factory.mktemp("models")
    write_model(repository, "echo")
    write_model(repository, "slow", _SLOW)
    process = ServerProcess(
        [f"--model-repository={repository}", "--grpc-infer-response-compression-level=low"]
    )
    try:
        yield process.wait_started()
        assert process.stop() == 0
    finally:
        process.kill()


@pytest.fixture
def client(server: ServerProcess) -> Iterator[grpcclient.InferenceServerClient]:
    with grpcclient.InferenceServerClient(server.url("grpc")) as made:
        yield made


@pytest.fixture
def channel(server: ServerProcess) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.url("grpc")) as made:
        yield made


def tensor(values: np.ndarray) -> list[grpcclient.InferInput]:
    made = grpcclient.InferInput("INPUT0", list(values.shape), "FP32")
    made.set_data_from_numpy(values)
    return [made]


def raw_call(channel: grpc.Channel, method: str, request: bytes = b"", **options: object) -> bytes:
    """A unary call without protobuf."""
    answer: bytes = channel.unary_unary(method)(request, **options)
    return answer


def code_of(channel: grpc.Channel, method: str, request: bytes = b"") -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as failure:
        raw_call(channel, method, request)
    code: grpc.StatusCode = failure.value.code()
    return code


def test_sixteen_megabytes_go_there_and_back(client):
    values = np.random.default_rng(1).random((1, 4 << 20), dtype=np.float32)
    answer = client.infer("echo", tensor(values))
    np.testing.assert_array_equal(answer.as_numpy("OUTPUT0"), values)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate", None])
def test_compression_is_negotiated(client, algorithm):
    values = np.zeros((2, 5000), np.float32)
    answer = client.infer("echo", tensor(values), compression_algorithm=algorithm)
    np.testing.assert_array_equal(answer.as_numpy("OUTPUT0"), values)


def test_a_deadline_ends_the_call_with_its_own_status(client):
    with pytest.raises(InferenceServerException, match="Deadline Exceeded") as failure:
        client.infer("slow", tensor(np.ones((1, 2), np.float32)), client_timeout=0.1)
    assert failure.value.status() == "StatusCode.DEADLINE_EXCEEDED"


def test_a_cancelled_call_reports_its_cancellation_and_others_go_on(client):
    done: queue.Queue = queue.Queue()
    values = tensor(np.ones((1, 2), np.float32))
    context = client.async_infer("slow", values, lambda result, error: done.put((result, error)))
    context.cancel()
    assert done.get(timeout=30)[1].status() == "StatusCode.CANCELLED"
    assert client.infer("echo", values).as_numpy("OUTPUT0").shape == (1, 2)


def test_thousands_of_cancellations_on_one_connection_are_no_flood(channel, client):
    call = channel.unary_unary(_SERVICE + "ModelInfer")
    for _ in range(3000):
        call.future(b"").cancel()
    assert client.is_server_live()
    assert raw_call(channel, _SERVICE + "ServerLive") == b"\x08\x01"


def test_a_stream_carries_more_requests_than_may_wait_at_once(client):
    answers: queue.Queue = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for number in range(3000):
        client.async_stream_infer(
            "echo", tensor(np.full((1, 2), number, np.float32)), request_id=str(number)
        )
    for number in range(3000):
        result, error = answers.get(timeout=60)
        assert error is None
        assert result.get_response().id == str(number)
        assert result.as_numpy("OUTPUT0")[0, 0] == number
    client.stop_stream()


def test_a_stream_error_is_in_band_unless_asked_otherwise(client):
    answers: queue.Queue = queue.Queue()
    values = tensor(np.ones((1, 2), np.float32))
    client.start_stream(lambda result, error: answers.put((result, error)))
    client.async_stream_infer("unknown", values)
    client.async_stream_infer("echo", values)
    assert "unknown model" in str(answers.get(timeout=30)[1])
    assert answers.get(timeout=30)[1] is None
    client.stop_stream()
    client.start_stream(
        lambda result, error: answers.put((result, error)), headers={"triton_grpc_error": "true"}
    )
    client.async_stream_infer("unknown", values)
    error = answers.get(timeout=30)[1]
    assert error.status() == "StatusCode.NOT_FOUND"
    client.stop_stream()


def test_unknown_and_unoffered_methods_are_unimplemented(channel):
    assert code_of(channel, "/some.Service/Method") is grpc.StatusCode.UNIMPLEMENTED
    assert code_of(channel, _SERVICE + "Nope") is grpc.StatusCode.UNIMPLEMENTED
    for name in ("TraceSetting", "SystemSharedMemoryRegister", "CudaSharedMemoryUnregister"):
        assert code_of(channel, _SERVICE + name) is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("method", ["ModelConfig", "ModelInfer", "ModelReady"])
def test_bytes_that_are_no_message_are_an_error(channel, client, method):
    code = code_of(channel, _SERVICE + method, b"\x0a\xff\xff\xff\xff")
    assert code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT)
    assert client.is_server_live()


def test_the_health_service_checks_and_watches(channel):
    assert raw_call(channel, "/grpc.health.v1.Health/Check") == b"\x08\x01"
    watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
    assert next(watch) == b"\x08\x01"
    watch.cancel()


def test_binary_metadata_is_accepted(channel):
    metadata = (("trace-bin", b"\x00\xff"), ("plain", "text"))
    assert raw_call(channel, _SERVICE + "ServerLive", metadata=metadata) == b"\x08\x01"


def test_many_connections_share_the_server(server):
    values = np.arange(8, dtype=np.float32).reshape(1, 8)
    failures: list[Exception] = []

    def work(number: int) -> None:
        try:
            options = [("grpc.use_local_subchannel_pool", 1)]
            with grpcclient.InferenceServerClient(
                server.url("grpc"), channel_args=options
            ) as client:
                for _ in range(20):
                    answer = client.infer("echo", tensor(values + number))
                    np.testing.assert_array_equal(answer.as_numpy("OUTPUT0"), values + number)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_running_call_survives_the_drain_and_new_ones_are_unavailable(start_server, tmp_path):
    write_model(tmp_path, "slow", _SLOW.replace("500", "3000"))
    server = start_server(f"--model-repository={tmp_path}").wait_started()
    done: queue.Queue = queue.Queue()
    values = tensor(np.ones((1, 2), np.float32))
    with grpcclient.InferenceServerClient(server.url("grpc")) as client:
        client.async_infer("slow", values, lambda result, error: done.put((result, error)))
        # The statistics are asked on the same connection: the request is in the engine by then.
        client.get_inference_statistics("slow")
        server.process.send_signal(signal.SIGTERM)
        server.wait_line("Waiting for in-flight requests")
        own_connection = [("grpc.use_local_subchannel_pool", 1)]
        with grpcclient.InferenceServerClient(
            server.url("grpc"), channel_args=own_connection
        ) as late:
            for caller in (client, late):
                with pytest.raises(InferenceServerException, match="Server is stopping") as refused:
                    caller.infer("slow", values)
                assert refused.value.status() == "StatusCode.UNAVAILABLE"
        assert server.wait_exit() == 0
        result, error = done.get(timeout=30)
    assert error is None
    assert result.as_numpy("OUTPUT0").shape == (1, 2)


def test_a_port_in_use_is_one_clear_error(server, start_server, tmp_path: Path):
    write_model(tmp_path, "echo")
    port = server.ports["grpc"]
    second = start_server(f"--model-repository={tmp_path}", f"--grpc-port={port}")
    assert second.wait_exit() != 0
    assert any("Address already in use" in line for line in second.lines)
