"""`Logger`: lines of the model in the server's log."""

from __future__ import annotations

import enum
import struct
import sys

from . import current, wire
from .channel import LOG
from .errors import TritonModelException

_LEVEL = struct.Struct("<B")


class Logger:
    """What the server's log level leaves out is not sent."""

    class LogLevel(enum.IntEnum):
        ERROR = 0
        WARNING = 1
        INFO = 2
        VERBOSE = 3

    ERROR = LogLevel.ERROR
    WARNING = LogLevel.WARNING
    INFO = LogLevel.INFO
    VERBOSE = LogLevel.VERBOSE

    @staticmethod
    def log(message: str, level: int = INFO) -> None:
        if not 0 <= level <= Logger.VERBOSE:
            raise TritonModelException(f"log level {level} is not one of 0 to 3")
        try:
            worker = current.worker()
        except TritonModelException:
            print(message, file=sys.stderr)  # a process that the model forked
            return
        if level <= worker.log_level:
            worker.channel.send(LOG, _LEVEL.pack(level) + wire.text(str(message)))

    @staticmethod
    def log_info(message: str) -> None:
        Logger.log(message, Logger.INFO)

    @staticmethod
    def log_warn(message: str) -> None:
        Logger.log(message, Logger.WARNING)

    @staticmethod
    def log_error(message: str) -> None:
        Logger.log(message, Logger.ERROR)

    @staticmethod
    def log_verbose(message: str) -> None:
        Logger.log(message, Logger.VERBOSE)
