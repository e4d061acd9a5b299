"""The load generator `python -m fastserve perf`: for any server that speaks KServe v2.

Requests are serialised here once; the C++ threads of fastserve._core send them.
"""

from fastserve.tools.perf.cli import main

__all__ = ["main"]
