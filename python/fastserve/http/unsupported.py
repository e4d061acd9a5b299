"""Endpoints of Triton that are known and not offered yet: 501 with a sentence that says which."""

from aiohttp.web import BaseRequest, Response

from fastserve.errors import UnsupportedError
from fastserve.http.context import Context
from fastserve.http.router import Handler, Parameters, route


def _refusal(feature: str) -> Handler:
    async def refuse(_context: Context, _request: BaseRequest, _parameters: Parameters) -> Response:
        raise UnsupportedError(f"{feature} is not offered by this server")

    return refuse


_trace = _refusal("request tracing")

ROUTES = [
    route(r"(?:/v2/models/[^/]+|/v2)/trace/setting", GET=_trace, POST=_trace),
]
