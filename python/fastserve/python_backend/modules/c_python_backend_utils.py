"""The native half of `triton_python_backend_utils` in Triton, which some models import."""

from fastserve_worker.api import *  # noqa: F403
from fastserve_worker.messages import MemoryType as MemoryType
from fastserve_worker.metrics import MetricKind as MetricKind
from fastserve_worker.shared_memory_name import SharedMemory as SharedMemory
from fastserve_worker.shared_memory_name import (
    async_event_future_done_callback as async_event_future_done_callback,
)
from fastserve_worker.shared_memory_name import shared_memory as shared_memory
