"""One server for the whole conformance suite, with a model for every data type, and the official
clients of it.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tritonclient.grpc as grpcclient
import tritonclient.grpc.aio as grpc_aio
import tritonclient.http as httpclient
import tritonclient.http.aio as http_aio

from tests.models.repository import write_repository
from tests.python.conformance.asyncio_clients import BlockingModule, running_loop
from tests.python.conftest import IDENTITY_CONFIG, ServerProcess, serving_all, write_model

TYPES = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "fp16",
    "FP32": "fp32",
    "FP64": "fp64",
    "BYTES": "bytes",
    "BF16": "bf16",
}
_MODELS = ["add_sub_fp32", "add_sub_int32", "strings", "classifier", "nobatch", "dynamic", "scalar"]
_SLOW = IDENTITY_CONFIG + 'parameters { key: "execute_delay_ms" value { string_value: "300" } }'

_PRIORITIES = _SLOW.replace("max_batch_size: 8", "max_batch_size: 1") + (
    "dynamic_batching { priority_levels: 3 default_priority_level: 2 }"
)


@pytest.fixture(scope="package")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models")
    write_repository(directory, [*_MODELS, *(f"identity_{name}" for name in TYPES.values())])
    write_model(directory, "slow", _SLOW)
    write_model(directory, "priorities", _PRIORITIES)
    write_model(directory, "echo")
    return directory


@pytest.fixture(scope="package")
def server(repository: Path) -> Iterator[ServerProcess]:
    with serving_all(repository) as process:
        yield process


@pytest.fixture
def http(server: ServerProcess) -> Iterator[httpclient.InferenceServerClient]:
    with httpclient.InferenceServerClient(server.url("http"), concurrency=8) as client:
        yield client


@pytest.fixture
def grpc(server: ServerProcess) -> Iterator[grpcclient.InferenceServerClient]:
    with grpcclient.InferenceServerClient(server.url("grpc")) as client:
        yield client


@pytest.fixture(scope="package")
def client_loop() -> Iterator[asyncio.AbstractEventLoop]:
    with running_loop() as loop:
        yield loop


def service_of(module: Any) -> str:
    """The service that a client module speaks to: "http" or "grpc"."""
    return str(module.__name__).split(".")[1]


@pytest.fixture(params=["http", "grpc", "http.aio", "grpc.aio"])
def protocol(request: pytest.FixtureRequest) -> Iterator[tuple]:
    """(client module, client): the test runs once per official client."""
    service, _, aio = request.param.partition(".")
    if not aio:
        yield (httpclient if service == "http" else grpcclient), request.getfixturevalue(service)
        return
    loop, server = (request.getfixturevalue(name) for name in ("client_loop", "server"))
    module = BlockingModule(http_aio if service == "http" else grpc_aio, loop)
    with module.InferenceServerClient(server.url(service)) as client:
        yield module, client
