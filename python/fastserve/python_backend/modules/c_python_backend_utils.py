"""The native half of `triton_python_backend_utils` in Triton, which some models import."""

from fastserve_worker.api import *  # noqa: F403
from fastserve_worker.messages import MemoryType  # noqa: F401
from fastserve_worker.metrics import MetricKind  # noqa: F401
from fastserve_worker.shared_memory_name import (  # noqa: F401
    SharedMemory,
    async_event_future_done_callback,
    shared_memory,
)
