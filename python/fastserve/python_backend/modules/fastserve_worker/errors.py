"""The errors that models raise, return and see."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Callable

# What a model raises to end its process. Whatever else it raises is an error of its requests.
PASSING = (SystemExit, KeyboardInterrupt)

_HERE = os.path.dirname(os.path.abspath(__file__))


class TritonModelException(Exception):  # noqa: N818  the name is Triton's
    """What the functions and classes of `triton_python_backend_utils` raise."""


class NoRoom(Exception):  # noqa: N818  no error: it can be sent later
    """A response that its sender is to keep until `wait`, which blocks, has returned."""

    def __init__(self, wait: Callable[[], None]) -> None:
        super().__init__()
        self.wait = wait


class TritonError:
    """Why a request failed: a code and a text."""

    # Triton's numbers, which are also those of the channel.
    UNKNOWN = 0
    INTERNAL = 1
    NOT_FOUND = 2
    INVALID_ARG = 3
    UNAVAILABLE = 4
    UNSUPPORTED = 5
    ALREADY_EXISTS = 6
    CANCELLED = 7

    __slots__ = ("_code", "_message")

    def __init__(self, message: str, code: int = INTERNAL) -> None:
        if not 0 <= code <= TritonError.CANCELLED:
            raise TritonModelException(f"error code {code} is not one of 0 to 7")
        self._message = str(message)
        self._code = code

    def code(self) -> int:
        return self._code

    def message(self) -> str:
        return self._message

    def __str__(self) -> str:
        return self._message

    def __repr__(self) -> str:
        return f"TritonError({self._message!r}, {self._code})"


def describe(error: BaseException) -> str:
    """`TYPE: TEXT`, then the frames of the model, innermost first."""
    frames = []
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if os.path.dirname(code.co_filename) != _HERE:
            frames.append(f"  {code.co_filename}({trace.tb_lineno}): {code.co_name}")
        trace = trace.tb_next
    try:
        text = str(error)
    except BaseException as unprintable:
        text = f"(its text raised {type(unprintable).__name__})"
    where = "\n\nAt:\n" + "\n".join(reversed(frames)) if frames else ""
    return f"{type(error).__name__}: {text}{where}"
