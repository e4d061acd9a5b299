"""The official asyncio clients."""

import asyncio

import numpy as np
import pytest
import tritonclient.grpc.aio as grpcclient
import tritonclient.http.aio as httpclient
from tritonclient.utils import InferenceServerException


@pytest.fixture(params=["http", "grpc"])
def aio(request, server):
    """(client module, url)."""
    return (httpclient if request.param == "http" else grpcclient), server.url(request.param)


def tensor(module, number: int):
    value = module.InferInput("INPUT0", [1, 4], "INT32")
    value.set_data_from_numpy(np.full((1, 4), number, np.int32))
    return value


async def test_a_hundred_concurrent_requests_get_their_own_answers(aio):
    module, url = aio
    async with module.InferenceServerClient(url) as client:
        requests = [client.infer("identity_int32", [tensor(module, n)]) for n in range(100)]
        results = await asyncio.gather(*requests)
    assert [result.as_numpy("OUTPUT0").tolist() for result in results] == [
        [[n] * 4] for n in range(100)
    ]


async def test_health_metadata_and_errors(aio):
    module, url = aio
    async with module.InferenceServerClient(url) as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("identity_int32")
        await client.get_model_metadata("identity_int32")
        await client.get_model_config("identity_int32")
        await client.get_inference_statistics("identity_int32")
        with pytest.raises(InferenceServerException, match="unknown model: 'no_such' is not found"):
            await client.infer("no_such", [tensor(module, 1)])


async def test_a_stream_answers_in_the_order_of_one_model(server):
    async with grpcclient.InferenceServerClient(server.url("grpc")) as client:

        async def requests():
            for number in range(20):
                yield {"model_name": "identity_int32", "inputs": [tensor(grpcclient, number)]}

        answers = [answer async for answer in client.stream_infer(requests())]
    assert all(error is None for _, error in answers)
    numbers = sorted(result.as_numpy("OUTPUT0")[0, 0] for result, _ in answers)
    assert numbers == list(range(20))
