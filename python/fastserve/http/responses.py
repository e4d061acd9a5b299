"""JSON bodies in and out, and errors as Triton answers them."""

import json
from typing import Any

from aiohttp import web

from fastserve.errors import FastserveError, InvalidArgumentError


def json_response(value: Any) -> web.Response:
    return text_response(json.dumps(value, separators=(",", ":"), ensure_ascii=False))


def text_response(text: str) -> web.Response:
    """`text` is JSON already. What UTF-8 cannot carry (a file name that is no text, in an error)
    becomes a question mark."""
    return web.Response(body=text.encode(errors="replace"), content_type="application/json")


def error_response(status: int, message: str) -> web.Response:
    response = json_response({"error": message})
    response.set_status(status)
    return response


def failure_response(error: FastserveError) -> web.Response:
    return error_response(error.http_status, str(error))


def parse_json_object(body: bytes | bytearray) -> dict[str, Any]:
    """An absent body is an empty object. Every string in it can be written as UTF-8."""
    if not body:
        return {}
    try:
        text = body.decode()
        value = json.loads(text)
        if "\\ud" in text.lower():  # an escaped surrogate, which may lack its other half
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"failed to parse the request JSON buffer: {error}") from None
    if not isinstance(value, dict):
        raise InvalidArgumentError("failed to parse the request JSON buffer: not an object")
    return value
