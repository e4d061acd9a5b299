"""GET /v2/health/live, /v2/health/ready and a model's ready."""

from aiohttp.web import BaseRequest, Response

from fastserve.http.context import Context
from fastserve.http.responses import error_response
from fastserve.http.router import MODEL, Parameters, route


async def _live(context: Context, _request: BaseRequest, _parameters: Parameters) -> Response:
    return Response(status=200 if context.control.is_live() else 400)


async def _ready(context: Context, _request: BaseRequest, _parameters: Parameters) -> Response:
    return Response(status=200 if context.control.is_ready() else 400)


async def _model_ready(context: Context, _request: BaseRequest, parameters: Parameters) -> Response:
    if await context.control.check_model_ready(parameters["model"], parameters["version"]):
        return Response(status=200)
    return error_response(400, "Model version not ready")


ROUTES = [
    route("/v2/health/live", GET=_live),
    route("/v2/health/ready", GET=_ready),
    route(MODEL + "/ready", GET=_model_ready),
]
