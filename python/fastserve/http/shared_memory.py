"""The shared-memory extensions: status, register and unregister of system and CUDA regions."""

from aiohttp.web import BaseRequest, Response

from fastserve.control.shared_memory import refusal, region_status
from fastserve.http.context import Context
from fastserve.http.responses import json_response
from fastserve.http.router import Parameters, route

_KIND = r"/v2/(?P<kind>system|cuda)sharedmemory"
_REGION = r"/region/(?P<region>[^/]+)"


async def _status(_context: Context, _request: BaseRequest, parameters: Parameters) -> Response:
    return json_response(region_status(parameters["kind"], parameters["region"]))


async def _refuse(_context: Context, _request: BaseRequest, _parameters: Parameters) -> Response:
    raise refusal()


ROUTES = [
    route(rf"{_KIND}(?:{_REGION})?/status", GET=_status),
    route(rf"{_KIND}{_REGION}/register", POST=_refuse),
    route(rf"{_KIND}(?:{_REGION})?/unregister", POST=_refuse),
]
