"""The bound of http_tiny.py: a bare aiohttp handler on uvloop that reads the body and answers."""

import asyncio
import sys

import uvloop
from aiohttp import web

ANSWER = b'{"model_name":"tiny","outputs":[{"name":"OUTPUT0","shape":[1,16],"datatype":"FP32"}]}'


async def answer(request: web.BaseRequest) -> web.Response:
    await request.read()
    return web.Response(body=ANSWER, content_type="application/json")


async def serve(port: int) -> None:
    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
