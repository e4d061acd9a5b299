"""The one table of status codes, walked through Python, HTTP and gRPC (C++: status_test.cc)."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio
from fastserve import errors
from fastserve._core import Engine
from fastserve.grpc.server import GrpcServer
from fastserve.http import HttpFrontEnd
from fastserve.options import Options

# As Triton maps them; not read from the product.
TABLE = [
    ("UnknownError", 400, grpc.StatusCode.UNKNOWN, "UNKNOWN"),
    ("InternalError", 500, grpc.StatusCode.INTERNAL, "INTERNAL"),
    ("NotFoundError", 404, grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
    ("InvalidArgumentError", 400, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARG"),
    ("UnavailableError", 503, grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"),
    ("UnsupportedError", 501, grpc.StatusCode.UNIMPLEMENTED, "UNSUPPORTED"),
    ("AlreadyExistsError", 400, grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS"),
    ("CancelledError", 400, grpc.StatusCode.CANCELLED, "CANCELLED"),
]
MESSAGE = "model 'm': value 3, limit 2, größer"


class FailingControl:
    """Every operation fails with the error the test has set: no real one produces all codes."""

    error: Exception

    async def server_metadata(self) -> dict[str, Any]:
        raise self.error


class Fronts:
    def __init__(self) -> None:
        self.control: Any = FailingControl()
        engine = Engine()
        self.http = HttpFrontEnd(engine, self.control, Options())
        options = Options(grpc_address="127.0.0.1", grpc_port=0)
        self.grpc = GrpcServer(engine, self.control, options)


@pytest_asyncio.fixture
async def fronts() -> AsyncIterator[Fronts]:
    running = Fronts()
    await running.http.start("127.0.0.1", 0)
    await running.grpc.start()
    yield running
    await running.http.stop(5.0)
    await running.grpc.stop(5.0)


def test_no_code_is_missing_from_this_test():
    classes = {name for name in errors.__all__ if name != "FastserveError"}
    assert classes == {row[0] for row in TABLE}


@pytest.mark.parametrize(("name", "http_status", "grpc_code", "triton_code"), TABLE)
async def test_a_code_is_the_same_everywhere(fronts, name, http_status, grpc_code, triton_code):
    error = getattr(errors, name)
    assert issubclass(error, errors.FastserveError)
    assert error.triton_code == triton_code
    fronts.control.error = error(MESSAGE)

    url = f"http://127.0.0.1:{fronts.http.port}/v2"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert response.status == http_status
        assert await response.json() == {"error": MESSAGE}

    async with grpc.aio.insecure_channel(f"127.0.0.1:{fronts.grpc.port}") as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ServerMetadata")
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await call(b"")
    assert failure.value.code() == grpc_code
    assert failure.value.details() == MESSAGE
