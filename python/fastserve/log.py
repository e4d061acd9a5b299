"""Log lines from Python, through the core's sink: one format and one set of settings for both
languages.
"""

import os
import sys

from fastserve import _core


def _write(level: str, message: str) -> None:
    frame = sys._getframe(2)
    _core.log(level, os.path.basename(frame.f_code.co_filename), frame.f_lineno, message)


def info(message: str) -> None:
    """Writes an INFO line with the caller's file and line."""
    _write("INFO", message)


def warning(message: str) -> None:
    """Writes a WARNING line with the caller's file and line."""
    _write("WARNING", message)


def error(message: str) -> None:
    """Writes an ERROR line with the caller's file and line."""
    _write("ERROR", message)


def verbose(message: str) -> None:
    """Writes a line at verbose level 1 with the caller's file and line."""
    if _core.log_enabled("VERBOSE", 1):
        _write("VERBOSE", message)
