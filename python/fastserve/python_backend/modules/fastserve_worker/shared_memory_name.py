"""Names that `c_python_backend_utils` has in Triton and a few models touch."""

from __future__ import annotations

from typing import Any

from . import current


class SharedMemory:
    """The worker's own memory, as far as models ask about it."""

    def free_memory(self) -> int:
        """Bytes that this worker holds for outputs and that no output uses now."""
        return current.worker().arena.free_bytes


shared_memory = SharedMemory()


def async_event_future_done_callback(future: Any) -> None:
    """Nothing: the event loop of a worker sees the end of its tasks itself."""
