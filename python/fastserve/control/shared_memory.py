"""The shared-memory extensions while clients cannot register regions, as in Triton by default: the
status calls are answered, registering is refused.
"""

from typing import Any

from fastserve.errors import NotFoundError, UnsupportedError


def region_status(kind: str, name: str) -> list[dict[str, Any]]:
    """All regions of a kind ("system" or "cuda"), or the one that is named: there is none."""
    if name:
        raise NotFoundError(f"Unable to find {kind} shared memory region: '{name}'")
    return []


def refusal() -> UnsupportedError:
    """Why a region can be neither registered nor unregistered."""
    return UnsupportedError("Client shared memory is disabled: this server does not offer it")
