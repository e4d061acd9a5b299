"""Metadata, configuration and statistics of the server and its models."""

from aiohttp.web import BaseRequest, Response

from fastserve.http.context import Context
from fastserve.http.responses import json_response, text_response
from fastserve.http.router import MODEL, Parameters, route


async def _server(context: Context, _request: BaseRequest, _parameters: Parameters) -> Response:
    return json_response(await context.control.server_metadata())


async def _metadata(context: Context, _request: BaseRequest, parameters: Parameters) -> Response:
    control = context.control
    return json_response(await control.model_metadata(parameters["model"], parameters["version"]))


async def _config(context: Context, _request: BaseRequest, parameters: Parameters) -> Response:
    control = context.control
    return json_response(await control.model_config(parameters["model"], parameters["version"]))


async def _statistics(context: Context, _request: BaseRequest, parameters: Parameters) -> Response:
    model, version = parameters.get("model", ""), parameters.get("version", "")
    return text_response(await context.control.model_statistics(model, version))


ROUTES = [
    route("/v2", GET=_server),
    route("/v2/models/stats", GET=_statistics),
    route(MODEL, GET=_metadata),
    route(MODEL + "/config", GET=_config),
    route(MODEL + "/stats", GET=_statistics),
]
