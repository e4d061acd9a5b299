"""Which handler answers a path and a method."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import unquote

from aiohttp.web import BaseRequest, StreamResponse

from fastserve.http.context import Context
from fastserve.http.responses import error_response

# Path parameters by name, percent-decoded; absent ones are "".
Parameters = dict[str, str]
Handler = Callable[[Context, BaseRequest, Parameters], Awaitable[StreamResponse]]

MODEL = r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[0-9]+))?"


@dataclass(frozen=True)
class Route:
    """`pattern` matches a whole path, before percent-decoding."""

    pattern: re.Pattern[str]
    handlers: dict[str, Handler]


def route(pattern: str, **handlers: Handler) -> Route:
    """route("/v2", GET=handler)"""
    return Route(re.compile(pattern), dict(handlers))


class Router:
    """The first route that matches the path answers. Paths without parameters are found by name."""

    def __init__(self, routes: list[Route]) -> None:
        self._fixed = {
            item.pattern.pattern: item for item in routes if "(" not in item.pattern.pattern
        }
        self._patterns = [item for item in routes if "(" in item.pattern.pattern]

    async def respond(self, context: Context, request: BaseRequest) -> StreamResponse:
        path = request.raw_path.partition("?")[0]
        fixed = self._fixed.get(path)
        if fixed is not None:
            return await self._call(fixed, context, request, {})
        for item in self._patterns:
            match = item.pattern.fullmatch(path)
            if match is not None:
                groups = match.groupdict(default="")
                parameters = {name: unquote(value) for name, value in groups.items()}
                return await self._call(item, context, request, parameters)
        return error_response(404, "Not Found")

    @staticmethod
    async def _call(
        item: Route, context: Context, request: BaseRequest, parameters: Parameters
    ) -> StreamResponse:
        handler = item.handlers.get(request.method)
        if handler is None:
            response = error_response(405, "Method Not Allowed")
            response.headers["Allow"] = ", ".join(item.handlers)
            return response
        return await handler(context, request, parameters)
