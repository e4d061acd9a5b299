"""The logging extension: GET and POST /v2/logging."""

from aiohttp.web import BaseRequest, Response

from fastserve.http.body import read_administrative_body
from fastserve.http.context import Context
from fastserve.http.responses import json_response, parse_json_object
from fastserve.http.router import Parameters, route


async def _get(context: Context, _request: BaseRequest, _parameters: Parameters) -> Response:
    return json_response(await context.control.log_settings())


async def _update(context: Context, request: BaseRequest, _parameters: Parameters) -> Response:
    with context.core_loop.claim_bytes() as claim:
        body = await read_administrative_body(request, context.max_input_bytes, claim)
        settings = parse_json_object(body)
    return json_response(await context.control.update_log_settings(settings))


ROUTES = [route("/v2/logging", GET=_get, POST=_update)]
