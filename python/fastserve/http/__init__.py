"""The HTTP front end: KServe v2 and Triton's extensions on asyncio or uvloop, and the metrics page.

Plain infer requests are answered by the core (csrc/http); everything else by aiohttp handlers that
delegate to the control plane.
"""

from fastserve.http.metrics import MetricsFrontEnd
from fastserve.http.server import HttpFrontEnd
from fastserve.http.timeouts import HttpTimeouts

__all__ = ["HttpFrontEnd", "HttpTimeouts", "MetricsFrontEnd"]
