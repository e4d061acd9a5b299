"""The worker that this process is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .errors import TritonModelException

if TYPE_CHECKING:
    from .worker_state import WorkerState

_worker: WorkerState | None = None


def set_worker(worker: WorkerState) -> None:
    global _worker
    _worker = worker
    os.register_at_fork(after_in_child=_forget)


def is_worker() -> bool:
    return _worker is not None


def worker() -> WorkerState:
    """TritonModelException in a process that is no worker: a child that a model forked, a test."""
    if _worker is None:
        raise TritonModelException("this process is not a worker of the server")
    return _worker


def _forget() -> None:
    """A forked child must not speak on the channel, nor keep it open."""
    global _worker
    if _worker is not None:
        _worker.channel.abandon()
    _worker = None
