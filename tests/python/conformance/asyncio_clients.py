"""The official asyncio clients behind the interface of the blocking ones, so that one suite runs
over all four.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_CALL_TIMEOUT_S = 120.0


@contextmanager
def running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that runs on a thread of its own. One for all clients: gRPC's asyncio shares
    one poller between the loops of a process.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class BlockingClient:
    """Each method of the asyncio client, called on the loop and waited for."""

    def __init__(self, module: ModuleType, url: str, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

        async def create() -> Any:  # a client belongs to the loop it is created on
            return module.InferenceServerClient(url)

        self._client = self._wait(create())

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        return lambda *values, **named: self._wait(method(*values, **named))

    def __enter__(self) -> "BlockingClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._wait(self._client.close())

    def _wait(self, call: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result(_CALL_TIMEOUT_S)


class BlockingModule:
    """An asyncio client module as the tests use a blocking one."""

    def __init__(self, module: ModuleType, loop: asyncio.AbstractEventLoop) -> None:
        self._module = module
        self._loop = loop
        self.__name__ = module.__name__
        self.InferInput = module.InferInput
        self.InferRequestedOutput = module.InferRequestedOutput

    def InferenceServerClient(self, url: str) -> BlockingClient:
        return BlockingClient(self._module, url, self._loop)
