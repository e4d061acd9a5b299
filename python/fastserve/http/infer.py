"""Infer requests that the core does not receive itself: chunked, compressed, with Expect. The core
answers them with the same function."""

import asyncio
from collections.abc import Callable

from aiohttp import hdrs
from aiohttp.web import BaseRequest, Response

from fastserve._core import StartedInfer
from fastserve.errors import InvalidArgumentError
from fastserve.http.body import compress, read_decoded_body, response_coding
from fastserve.http.context import Context
from fastserve.http.router import MODEL, Parameters, route

_HEADER_LENGTH = "Inference-Header-Content-Length"
_MAX_VERSION = 2**63 - 1

Pieces = list[bytes | memoryview]
Reply = tuple[int, int, Pieces]
OnReply = Callable[[int, int, Pieces], None]


def parse_version(version: str) -> int:
    """-1 for "". The text is Triton's."""
    if not version:
        return -1
    value = int(version) if len(version) < 20 else 0
    if not 0 < value <= _MAX_VERSION:
        raise InvalidArgumentError(
            f"failed to get model version from specified version string '{version}', "
            "version should be an integral value > 0"
        )
    return value


async def _start(
    context: Context, request: BaseRequest, parameters: Parameters, on_reply: OnReply
) -> StartedInfer:
    version = parse_version(parameters["version"])
    with context.core_loop.claim_bytes() as claim:  # the core claims what it takes over
        body = await read_decoded_body(request, context.max_input_bytes, claim)
    header_length = request.headers.get(_HEADER_LENGTH)
    return context.core_loop.infer(parameters["model"], version, body, header_length, on_reply)


async def _infer(context: Context, request: BaseRequest, parameters: Parameters) -> Response:
    answered: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    def on_reply(status: int, json_size: int, pieces: Pieces) -> None:
        if not answered.done():
            answered.set_result((status, json_size, pieces))

    started = await _start(context, request, parameters, on_reply)
    try:
        status, json_size, pieces = await answered
    except asyncio.CancelledError:  # the client went away
        started.cancel()
        raise
    return await _response(request, status, json_size, b"".join(pieces))


async def _response(request: BaseRequest, status: int, json_size: int, body: bytes) -> Response:
    headers: dict[str, str] = {hdrs.CONTENT_TYPE: "application/json"}
    if json_size > 0:
        headers = {hdrs.CONTENT_TYPE: "application/octet-stream", _HEADER_LENGTH: str(json_size)}
    coding = response_coding(request.headers.get(hdrs.ACCEPT_ENCODING, ""))
    if coding and status == 200:
        headers[hdrs.CONTENT_ENCODING] = coding
        body = await compress(body, coding)
    return Response(status=status, headers=headers, body=body)


ROUTES = [route(MODEL + "/infer", POST=_infer)]
