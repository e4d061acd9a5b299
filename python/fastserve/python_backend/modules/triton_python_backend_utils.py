"""The module that Python models import."""

from fastserve_worker.api import *  # noqa: F403
from fastserve_worker.api import __all__  # noqa: F401
