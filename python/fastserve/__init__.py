"""fastserve: a pip-installed inference server that takes the place of NVIDIA Triton.

`python -m fastserve --model-repository DIR` serves a model repository; `fastserve.InferenceServer`
is the same engine inside a Python process. Attributes are imported when first used, so that the
command line starts quickly.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastserve.inference_server import InferenceServer

__version__ = "0.1.0"
__all__ = ["InferenceServer", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "InferenceServer":
        from fastserve.inference_server import InferenceServer

        return InferenceServer
    raise AttributeError(f"module 'fastserve' has no attribute '{name}'")
