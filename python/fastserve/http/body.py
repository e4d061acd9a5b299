"""Bodies of the requests that aiohttp received, bounded, with their content coding taken off."""

import asyncio
import zlib
from collections.abc import Callable

from aiohttp import hdrs
from aiohttp.web import BaseRequest

from fastserve._core import ByteClaim
from fastserve.errors import InvalidArgumentError

# Above this size compressing takes longer than the event loop should be held up.
_OFF_LOOP_BYTES = 65536
# What an administrative request may have: its JSON is parsed on the event loop.
ADMINISTRATIVE_LIMIT_BYTES = 1 << 20
# zlib's window bits: 32 + 15 reads gzip and zlib alike, 16 + 15 writes gzip, 15 writes zlib.
_READ_ANY = 47
_WRITE_WINDOW_BITS = {"gzip": 31, "deflate": 15}
_COMPRESSION_LEVEL = 6


def too_large(size: int, limit: int) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"request body size of {size} bytes exceeds the maximum allowed input size of {limit} "
        "bytes. Use --http-max-input-size to increase the limit."
    )


def _administrative_too_large(size: int, limit: int) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"request JSON size of {size} bytes exceeds the maximum allowed size of {limit} bytes of "
        "an administrative request"
    )


async def read_administrative_body(request: BaseRequest, limit: int, claim: ByteClaim) -> bytearray:
    """The body of a request that is no inference, of at most `limit` bytes and of at most
    ADMINISTRATIVE_LIMIT_BYTES."""
    if limit <= ADMINISTRATIVE_LIMIT_BYTES:
        return await _read_body(request, limit, claim, too_large)
    return await _read_body(request, ADMINISTRATIVE_LIMIT_BYTES, claim, _administrative_too_large)


async def _read_body(
    request: BaseRequest,
    limit: int,
    claim: ByteClaim,
    too_large: Callable[[int, int], InvalidArgumentError],
) -> bytearray:
    """The body as it was sent; InvalidArgumentError as soon as it is known to be too large,
    UnavailableError when the server has no room for it."""
    announced = request.content_length
    if announced is not None and announced > limit:
        raise too_large(announced, limit)
    await _continue_if_expected(request)
    body = bytearray()
    async for data in request.content.iter_any():
        body += data
        if len(body) > limit:
            raise too_large(len(body), limit)
        claim.add(len(data), announced or len(body))
    return body


async def _continue_if_expected(request: BaseRequest) -> None:
    expect = request.headers.get(hdrs.EXPECT, "")
    if not expect:
        return
    if expect.lower() != "100-continue":
        raise InvalidArgumentError(f"unknown expectation: '{expect}'")
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def read_decoded_body(
    request: BaseRequest, limit: int, claim: ByteClaim
) -> bytes | bytearray:
    """The body without gzip or deflate; `limit` holds for both forms."""
    body = await _read_body(request, limit, claim, too_large)
    coding = request.headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower()
    if coding in ("", "identity"):
        return body
    if coding not in _WRITE_WINDOW_BITS:
        raise InvalidArgumentError(f"unsupported Content-Encoding: '{coding}'")
    if len(body) < _OFF_LOOP_BYTES:
        data = _decompress(body, coding, limit)
    else:
        data = await asyncio.to_thread(_decompress, body, coding, limit)
    claim.add(len(data), len(data))
    return data


def _decompress(body: bytearray, coding: str, limit: int) -> bytes:
    decompressor = zlib.decompressobj(_READ_ANY)
    try:
        data = decompressor.decompress(body, limit + 1)
    except zlib.error as error:
        raise InvalidArgumentError(f"failed to decompress {coding} request body: {error}") from None
    if len(data) > limit:
        raise too_large(len(data), limit)
    if not decompressor.eof or decompressor.unused_data:
        raise InvalidArgumentError(f"failed to decompress {coding} request body: malformed data")
    return data


def response_coding(accept_encoding: str) -> str:
    """The content coding to answer with: the one of gzip and deflate with the highest weight, the
    first of equals, or "" for none (RFC 9110 12.5.3)."""
    best, best_weight = "", 0.0
    for element in accept_encoding.split(","):
        name, _, parameter = element.partition(";")
        coding = name.strip().lower()
        coding = "gzip" if coding == "*" else coding
        weight = _weight(parameter)
        if (coding in _WRITE_WINDOW_BITS or coding == "identity") and weight > best_weight:
            best, best_weight = coding, weight
    return "" if best == "identity" else best


def _weight(parameter: str) -> float:
    key, _, value = parameter.strip().partition("=")
    if key.strip().lower() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


async def compress(body: bytes, coding: str) -> bytes:
    if len(body) < _OFF_LOOP_BYTES:
        return _compress(body, coding)
    return await asyncio.to_thread(_compress, body, coding)


def _compress(body: bytes, coding: str) -> bytes:
    compressor = zlib.compressobj(_COMPRESSION_LEVEL, zlib.DEFLATED, _WRITE_WINDOW_BITS[coding])
    return compressor.compress(body) + compressor.flush()
