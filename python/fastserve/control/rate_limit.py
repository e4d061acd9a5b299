"""--rate-limit and --rate-limit-resource: how many of which resource there are."""

import re

from fastserve.errors import InvalidArgumentError
from fastserve.options import Options

_SETTING = re.compile(r"([^:]+):(\d{1,10})(?::(\d+|global))?", re.IGNORECASE)


def rate_limit_resources(options: Options) -> dict[str, int] | None:
    """Counts by lower-case name; None when --rate-limit is off.

    The host is device 0; counts of other devices mean nothing here. InvalidArgumentError for a
    setting that is not <name>:<count>[:<device>].
    """
    if options.rate_limit == "off":
        return None
    counts = {}
    for setting in options.rate_limit_resource:
        parts = _SETTING.fullmatch(setting)
        if parts is None or int(parts[2]) >= 2**32:
            raise InvalidArgumentError(
                "--rate-limit-resource must be <name>:<count>[:<device>] with a count below "
                f"4294967296, got '{setting}'"
            )
        if (parts[3] or "0").lower() in ("0", "global"):
            counts[parts[1].lower()] = int(parts[2])
    return counts
