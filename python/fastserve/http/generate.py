"""The generate extension: text in, text out, as one JSON object or as server-sent events.

The core parses the request and writes the text of its answers; here they are fetched as fast as
the client reads, which is what holds a model back that sends faster.
"""

import asyncio
from typing import Any, NamedTuple

from aiohttp import hdrs
from aiohttp.web import BaseRequest, Response, StreamResponse

from fastserve.http.body import read_decoded_body
from fastserve.http.context import Context
from fastserve.http.infer import parse_version
from fastserve.http.router import MODEL, Parameters, route

_EVENTS = "text/event-stream; charset=utf-8"


class _Chunk(NamedTuple):
    """What there is of the answer since the last one. The status is that of the whole answer."""

    status: int
    events: bool
    ended: bool
    text: bytes


async def _start(
    context: Context, request: BaseRequest, parameters: Parameters, *, stream: bool
) -> Any:
    version = parse_version(parameters["version"])
    with context.core_loop.claim_bytes() as claim:  # the core claims what it takes over
        body = await read_decoded_body(request, context.max_input_bytes, claim)
    return context.core_loop.generate(parameters["model"], version, body, stream)


async def _next(call: Any) -> _Chunk:
    """Waits until there is something."""
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_ready() -> None:
        if not ready.done():
            ready.set_result(None)

    call.wait(on_ready)
    await ready
    return _Chunk(*call.take())


def _json(chunk: _Chunk) -> Response:
    return Response(status=chunk.status, body=chunk.text, content_type="application/json")


async def _generate(context: Context, request: BaseRequest, parameters: Parameters) -> Response:
    call = await _start(context, request, parameters, stream=False)
    try:
        return _json(await _next(call))
    finally:  # the client went away, or nothing is left to cancel
        call.cancel()


async def _generate_stream(
    context: Context, request: BaseRequest, parameters: Parameters
) -> StreamResponse:
    call = await _start(context, request, parameters, stream=True)
    try:
        chunk = await _next(call)
        if not chunk.events:
            return _json(chunk)
        response = StreamResponse(
            status=chunk.status,
            headers={hdrs.CONTENT_TYPE: _EVENTS, hdrs.CACHE_CONTROL: "no-cache"},
        )
        if context.core_loop.draining:
            response.force_close()
        await response.prepare(request)
        await response.write(chunk.text)
        while not chunk.ended:
            chunk = await _next(call)
            await response.write(chunk.text)
        return response
    finally:
        call.cancel()


ROUTES = [
    route(MODEL + "/generate", POST=_generate),
    route(MODEL + "/generate_stream", POST=_generate_stream),
]
