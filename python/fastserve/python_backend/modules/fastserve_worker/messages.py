"""`InferenceRequest`, `InferenceResponse` and what they carry."""

from __future__ import annotations

import enum
import json
from typing import Any, Dict, List, Sequence, Tuple, Union

from . import current
from .errors import TritonError, TritonModelException
from .tensor import Tensor

SEQUENCE_START = 1
SEQUENCE_END = 2
RELEASE_ALL = 1
RELEASE_RESCHEDULE = 2
RESPONSE_FINAL = 1


class MemoryType(enum.IntEnum):
    """Where tensors may lie."""

    TRITONSERVER_MEMORY_CPU = 0
    TRITONSERVER_MEMORY_GPU = 1


MEMORY_CPU = MemoryType.TRITONSERVER_MEMORY_CPU
MEMORY_GPU = MemoryType.TRITONSERVER_MEMORY_GPU

CorrelationId = Union[int, str]

# For whose sake something is asked of the server: the first handle and their number.
Callers = Tuple[int, int]
NOBODY: Callers = (0, 0)


def _parameters_json(parameters: Any) -> str:
    """JSON text of a dictionary whose values are str, int, bool or float."""
    if not parameters:
        return ""
    if not isinstance(parameters, dict):
        raise TritonModelException(
            f"parameters are of type {type(parameters).__name__}, expected dict"
        )
    for key, value in parameters.items():
        if not isinstance(key, str):
            raise TritonModelException(f"parameter key {key!r} is not a str")
        if not isinstance(value, (str, int, float)):
            raise TritonModelException(
                f"parameter '{key}' is of type {type(value).__name__}, expected str, int, bool or "
                "float"
            )
    return json.dumps(parameters)


def _tensors(values: Sequence[Tensor], what: str) -> List[Tensor]:
    tensors = list(values)
    for tensor in tensors:
        if type(tensor) is not Tensor and not isinstance(tensor, Tensor):
            raise TritonModelException(
                f"{what} are of type {type(tensor).__name__}, expected pb_utils.Tensor"
            )
    return tensors


class InferenceTrace:
    """The trace context of a request, as text. A BLS request that is given the trace of a received
    request is made for that one's sake.
    """

    __slots__ = ("_context", "_handle")

    def __init__(self, context: str | None = None) -> None:
        self._context = context
        self._handle = 0

    def get_context(self) -> str | None:
        """None without a trace."""
        return self._context or None


class PreferredMemory:
    """Where a BLS request would like its outputs. This server's workers have CPU memory."""

    __slots__ = ("device_id", "memory_type")

    def __init__(self, preferred_memory_type: int = MEMORY_CPU, preferred_device_id: int = 0):
        if preferred_memory_type not in (MEMORY_CPU, MEMORY_GPU):
            raise TritonModelException(f"memory type {preferred_memory_type} is not CPU or GPU")
        self.memory_type = preferred_memory_type
        self.device_id = preferred_device_id


class InferenceRequest:
    """A request: one that `execute` was given, or one for another model (business logic scripting).

    `_handle` is the server's number of a received one, 0 for one that a model made.
    """

    __slots__ = (
        "_answer",
        "_callers",
        "_cancelled",
        "_correlation",
        "_flags",
        "_handle",
        "_id",
        "_inputs",
        "_model",
        "_parameters",
        "_release_flags",
        "_requested",
        "_sender",
        "_timeout",
        "_trace",
        "_version",
    )

    def __init__(
        self,
        request_id: str = "",
        correlation_id: CorrelationId = 0,
        inputs: Sequence[Tensor] = (),
        requested_output_names: Sequence[str] = (),
        model_name: str = "",
        model_version: int = -1,
        flags: int = 0,
        timeout: int = 0,
        preferred_memory: PreferredMemory | None = None,  # noqa: ARG002  there is one memory
        trace: InferenceTrace | None = None,
        parameters: Dict[str, Any] | None = None,
    ) -> None:
        if not isinstance(correlation_id, (int, str)):
            raise TritonModelException(
                f"correlation id is of type {type(correlation_id).__name__}, expected int or str"
            )
        if isinstance(correlation_id, int) and not 0 <= correlation_id < 1 << 64:
            raise TritonModelException(f"correlation id {correlation_id} is not in 0 to 2^64-1")
        if not 0 <= timeout < 1 << 64:
            raise TritonModelException(f"timeout {timeout} is not in 0 to 2^64-1")
        self._id = request_id
        self._correlation = correlation_id
        self._inputs = _tensors(inputs, "inputs")
        self._requested = list(requested_output_names)
        self._model = model_name
        self._version = int(model_version)
        self.set_flags(flags)
        self._timeout = int(timeout)
        self._trace = (trace.get_context() or "") if trace is not None else ""
        self._callers = (trace._handle, 1) if trace is not None and trace._handle else NOBODY
        self._parameters = _parameters_json(parameters)
        self._handle = 0
        self._cancelled = [False]
        self._release_flags = RELEASE_ALL
        self._answer: Any = None
        self._sender: Any = None

    def inputs(self) -> List[Tensor]:
        return self._inputs

    def request_id(self) -> str:
        return self._id

    def correlation_id(self) -> CorrelationId:
        return self._correlation

    def flags(self) -> int:
        return self._flags

    def set_flags(self, flags: int) -> None:
        if not 0 <= flags <= SEQUENCE_START | SEQUENCE_END:
            raise TritonModelException(f"request flags {flags} are not in 0 to 3")
        self._flags = int(flags)

    def timeout(self) -> int:
        """Microseconds; 0: none."""
        return self._timeout

    def parameters(self) -> str:
        """A JSON object."""
        return self._parameters or "{}"

    def trace(self) -> InferenceTrace:
        trace = InferenceTrace(self._trace)
        trace._handle = self._handle
        return trace

    def requested_output_names(self) -> List[str]:
        return self._requested

    def model_name(self) -> str:
        return self._model

    def model_version(self) -> int:
        return self._version

    def is_cancelled(self) -> bool:
        """Whether its client went away or cancelled it."""
        if not self._cancelled[0]:
            current.worker().channel.drain()
        return self._cancelled[0]

    def set_release_flags(self, flags: int) -> None:
        if flags not in (RELEASE_ALL, RELEASE_RESCHEDULE):
            raise TritonModelException(
                f"release flags {flags} are not TRITONSERVER_REQUEST_RELEASE_ALL or _RESCHEDULE"
            )
        self._release_flags = flags

    def get_response_sender(self) -> Any:
        """What answers this request, from any thread: its model need not be decoupled."""
        if self._sender is None:
            raise TritonModelException(
                "only a request that execute was given has a response sender"
            )
        return self._sender(self)

    def exec(self, decoupled: bool = False) -> Any:
        """The response of the model that this request names (decoupled: an iterator of them)."""
        return current.worker().calls.execute(self, decoupled)

    def async_exec(self, decoupled: bool = False) -> Any:
        """exec() as an awaitable; the request is sent at once."""
        return current.worker().calls.execute_async(self, decoupled)


_new = InferenceRequest.__new__
own_model = ("", -1)  # name and version of the model that this worker runs


def blank_request() -> InferenceRequest:
    """One that the server sent, but for what it sent."""
    request = _new(InferenceRequest)
    request._model, request._version = own_model
    request._callers = NOBODY
    request._cancelled = [False]
    request._release_flags = RELEASE_ALL
    request._answer = None
    request._sender = None
    return request


class InferenceResponse:
    """Outputs or an error, and parameters."""

    __slots__ = ("_error", "_outputs", "_parameters")

    def __init__(
        self,
        output_tensors: Sequence[Tensor] = (),
        error: TritonError | None = None,
        parameters: Dict[str, Any] | None = None,
    ) -> None:
        if error is not None and not isinstance(error, TritonError):
            raise TritonModelException(
                f"error is of type {type(error).__name__}, expected pb_utils.TritonError"
            )
        self._outputs = _tensors(output_tensors, "output tensors") if output_tensors else []
        self._error = error
        self._parameters = _parameters_json(parameters) if parameters else ""

    def output_tensors(self) -> List[Tensor]:
        return self._outputs

    def has_error(self) -> bool:
        return self._error is not None

    def error(self) -> TritonError | None:
        return self._error

    def parameters(self) -> str:
        """A JSON object."""
        return self._parameters or "{}"
