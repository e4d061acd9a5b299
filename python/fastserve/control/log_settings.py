"""The logging settings of /v2/logging and the LogSettings RPC."""

from typing import Any

from fastserve import _core
from fastserve.errors import InvalidArgumentError, UnsupportedError

_BOOLS = ("log_info", "log_warning", "log_error")
_FORMATS = ("default", "ISO8601")


def read_log_settings(log_file: str) -> dict[str, Any]:
    """All settings by their protocol names. The file is the command line's."""
    return {"log_file": log_file, **_core.log_settings()}


def write_log_settings(values: dict[str, Any]) -> None:
    """Checks all values, then applies them together. The file cannot be set over the network
    (HARDENING 1).
    """
    for key, value in values.items():
        _check(key, value)
    _core.set_log_settings(values)


def _check(key: str, value: Any) -> None:
    if key == "log_file":
        raise UnsupportedError("log file location can not be updated through network protocol")
    if key in _BOOLS:
        if not isinstance(value, bool):
            raise InvalidArgumentError(f"expect boolean for '{key}'")
    elif key == "log_verbose_level":
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
            raise InvalidArgumentError(f"expect unsigned integer for '{key}'")
    elif key == "log_format":
        if value not in _FORMATS:
            raise InvalidArgumentError(f"log_format must be one of {', '.join(_FORMATS)}")
    else:
        raise InvalidArgumentError(f"unknown log setting '{key}'")
