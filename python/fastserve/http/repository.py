"""The model repository extension: index, load and unload."""

from typing import Any

from aiohttp.web import BaseRequest, Response

from fastserve.errors import InvalidArgumentError, UnsupportedError
from fastserve.http.body import read_administrative_body
from fastserve.http.context import Context
from fastserve.http.responses import json_response, parse_json_object
from fastserve.http.router import Parameters, route

_REPOSITORY = r"/v2/repository(?:/(?P<repository>[^/]+))?"
_MODEL = _REPOSITORY + r"/models/(?P<model>[^/]+)"


def _refuse_repository_name(parameters: Parameters) -> None:
    if parameters["repository"]:
        raise UnsupportedError("'repository_name' specification is not supported")


async def _read_object(context: Context, request: BaseRequest) -> dict[str, Any]:
    with context.core_loop.claim_bytes() as claim:
        body = await read_administrative_body(request, context.max_input_bytes, claim)
        return parse_json_object(body)


async def _index(context: Context, request: BaseRequest, parameters: Parameters) -> Response:
    _refuse_repository_name(parameters)
    ready_only = (await _read_object(context, request)).get("ready", False)
    if not isinstance(ready_only, bool):
        raise InvalidArgumentError("Unable to parse 'ready': not a boolean")
    return json_response(await context.control.repository_index(ready_only))


async def _model_parameters(context: Context, request: BaseRequest) -> dict[str, Any]:
    parameters = (await _read_object(context, request)).get("parameters", {})
    if not isinstance(parameters, dict):
        raise InvalidArgumentError("Unable to parse 'parameters': not an object")
    return parameters


async def _load(context: Context, request: BaseRequest, parameters: Parameters) -> Response:
    _refuse_repository_name(parameters)
    settings = await _model_parameters(context, request)
    await context.control.load_model(parameters["model"], settings)
    return Response(content_type="application/json")


async def _unload(context: Context, request: BaseRequest, parameters: Parameters) -> Response:
    _refuse_repository_name(parameters)
    settings = await _model_parameters(context, request)
    await context.control.unload_model(parameters["model"], settings)
    return Response(content_type="application/json")


ROUTES = [
    route(_REPOSITORY + "/index", GET=_index, POST=_index),
    route(_MODEL + "/load", POST=_load),
    route(_MODEL + "/unload", POST=_unload),
]
