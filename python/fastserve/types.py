"""Small immutable values that several layers share."""

from dataclasses import dataclass
from enum import Enum

from fastserve.errors import InvalidArgumentError

ANY_VERSION = -1


class ModelState(str, Enum):
    """The states that the repository index reports."""

    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """The state of one version, and why when it is not READY."""

    state: ModelState
    reason: str = ""


def parse_version(text: str) -> int:
    """The number of a version from a URL or a message; "" is any version. InvalidArgumentError
    otherwise.
    """
    if text == "":
        return ANY_VERSION
    if text.isascii() and text.isdigit() and 0 < int(text) < 2**63:
        return int(text)
    raise InvalidArgumentError(
        f"failed to get model version from specified version string '{text}', version should be an "
        "integral value > 0"
    )
