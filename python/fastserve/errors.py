"""The exceptions of fastserve: one class per status code, made in the core from its one table of
codes.

Each class carries `http_status`, `grpc_code` and `triton_code`; str(error) is the message.
"""

from fastserve._core import (
    AlreadyExistsError,
    CancelledError,
    FastserveError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
    UnknownError,
    UnsupportedError,
)

__all__ = [
    "AlreadyExistsError",
    "CancelledError",
    "FastserveError",
    "InternalError",
    "InvalidArgumentError",
    "NotFoundError",
    "UnavailableError",
    "UnknownError",
    "UnsupportedError",
]
