"""
fastserve's data plane: engine, HTTP and gRPC front ends, load generator.
"""

from __future__ import annotations
import collections.abc
import typing
import typing_extensions

__all__: list[str] = [
    "AlreadyExistsError",
    "Arrival",
    "ByteClaim",
    "CancelledError",
    "CannedGrpcServer",
    "ControlQueue",
    "Engine",
    "FastserveError",
    "GenerateCall",
    "GrpcServer",
    "HttpConnection",
    "HttpLoop",
    "InferCompletions",
    "InferRequest",
    "InternalError",
    "InvalidArgumentError",
    "LoadGenerator",
    "LoadOptions",
    "LoadProtocol",
    "LoadSnapshot",
    "ModelHandle",
    "NotFoundError",
    "ResponseStream",
    "StartedInfer",
    "UnavailableError",
    "UnknownError",
    "UnsupportedError",
    "escape_for_log",
    "grpc_call",
    "log",
    "log_enabled",
    "log_settings",
    "serialize_bytes",
    "set_log_file",
    "set_log_settings",
]

class FastserveError(RuntimeError):
    grpc_code: typing.ClassVar[int] = 2
    http_status: typing.ClassVar[int] = 400
    triton_code: typing.ClassVar[str] = "UNKNOWN"

class UnknownError(FastserveError):
    grpc_code: typing.ClassVar[int] = 2
    http_status: typing.ClassVar[int] = 400
    triton_code: typing.ClassVar[str] = "UNKNOWN"

class InternalError(FastserveError):
    grpc_code: typing.ClassVar[int] = 13
    http_status: typing.ClassVar[int] = 500
    triton_code: typing.ClassVar[str] = "INTERNAL"

class NotFoundError(FastserveError):
    grpc_code: typing.ClassVar[int] = 5
    http_status: typing.ClassVar[int] = 404
    triton_code: typing.ClassVar[str] = "NOT_FOUND"

class InvalidArgumentError(FastserveError):
    grpc_code: typing.ClassVar[int] = 3
    http_status: typing.ClassVar[int] = 400
    triton_code: typing.ClassVar[str] = "INVALID_ARG"

class UnavailableError(FastserveError):
    grpc_code: typing.ClassVar[int] = 14
    http_status: typing.ClassVar[int] = 503
    triton_code: typing.ClassVar[str] = "UNAVAILABLE"

class UnsupportedError(FastserveError):
    grpc_code: typing.ClassVar[int] = 12
    http_status: typing.ClassVar[int] = 501
    triton_code: typing.ClassVar[str] = "UNSUPPORTED"

class AlreadyExistsError(FastserveError):
    grpc_code: typing.ClassVar[int] = 6
    http_status: typing.ClassVar[int] = 400
    triton_code: typing.ClassVar[str] = "ALREADY_EXISTS"

class CancelledError(FastserveError):
    grpc_code: typing.ClassVar[int] = 1
    http_status: typing.ClassVar[int] = 400
    triton_code: typing.ClassVar[str] = "CANCELLED"

class ModelHandle:
    def release(self) -> None: ...

class ControlQueue:
    def answer(self, id: typing.SupportsInt | typing.SupportsIndex, json: str) -> None: ...
    def take(self) -> list[tuple[int, str]]: ...
    @property
    def fd(self) -> int: ...

class Engine:
    def __init__(
        self,
        max_inflight_bytes: typing.SupportsInt | typing.SupportsIndex = 0,
        metrics: dict = {},
        rate_limit_resources: collections.abc.Mapping[
            str, typing.SupportsInt | typing.SupportsIndex
        ]
        | None = None,
        cache: dict = {},
        hold_until: tuple[
            typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex
        ] = (0, 0),
    ) -> None: ...
    def auto_complete(self, spec: dict) -> str: ...
    def drain(
        self, model: ModelHandle, timeout_s: typing.SupportsFloat | typing.SupportsIndex = -1.0
    ) -> bool: ...
    def has_backend(self, name: str) -> bool: ...
    def infer(self, request: InferRequest) -> list: ...
    def infer_stream(self, request: InferRequest) -> ResponseStream: ...
    def load_model(self, spec: dict) -> ModelHandle: ...
    def metrics_text(self) -> str: ...
    def model_state(
        self, name: str, version: typing.SupportsInt | typing.SupportsIndex = -1
    ) -> str: ...
    def model_version(
        self, name: str, version: typing.SupportsInt | typing.SupportsIndex = -1
    ) -> int: ...
    def open_control_queue(self) -> ControlQueue: ...
    def publish(
        self, name: str, models: collections.abc.Sequence[ModelHandle]
    ) -> list[ModelHandle]: ...
    def read_signature(self, spec: dict) -> dict: ...
    def readiness_is_asked(
        self, name: str, version: typing.SupportsInt | typing.SupportsIndex = -1
    ) -> bool: ...
    def register_identity_backend(self) -> None: ...
    def register_onnxruntime_backend(
        self,
        library_path: str,
        intra_op_threads: typing.SupportsInt | typing.SupportsIndex = 0,
        inter_op_threads: typing.SupportsInt | typing.SupportsIndex = 0,
        allow_spinning: bool = True,
    ) -> None: ...
    def register_python_backend(
        self, interpreter: str, script: str, name: str = "python", model_path: str = ""
    ) -> None: ...
    def register_repeat_backend(self) -> None: ...
    def set_load_duration(
        self, model: ModelHandle, seconds: typing.SupportsFloat | typing.SupportsIndex
    ) -> None: ...
    def set_ready(self, ready: bool) -> None: ...
    def statistics_json(
        self, name: str = "", version: typing.SupportsInt | typing.SupportsIndex = -1
    ) -> str: ...
    def stop_accepting(self) -> None: ...
    def submit(
        self,
        request: InferRequest,
        completions: InferCompletions,
        token: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...
    def submit_stream(
        self,
        request: InferRequest,
        completions: InferCompletions,
        token: typing.SupportsInt | typing.SupportsIndex,
    ) -> ResponseStream: ...
    def wait_idle(self, timeout_s: typing.SupportsFloat | typing.SupportsIndex = -1.0) -> bool: ...
    def why_not_ready(
        self, name: str, version: typing.SupportsInt | typing.SupportsIndex = -1
    ) -> str | None: ...
    @property
    def inflight_bytes(self) -> int: ...
    @property
    def inflight_requests(self) -> int: ...
    @property
    def live(self) -> bool: ...
    @property
    def ready(self) -> bool: ...

class InferRequest:
    id: str
    sequence_end: bool
    sequence_start: bool
    def __init__(
        self, model_name: str, model_version: typing.SupportsInt | typing.SupportsIndex = -1
    ) -> None: ...
    def add_input(
        self,
        name: str,
        data_type: str,
        shape: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        data: typing.Any,
    ) -> None: ...
    def add_output(
        self, name: str, classification_count: typing.SupportsInt | typing.SupportsIndex = 0
    ) -> None: ...
    def cancel(self) -> None: ...
    def set_parameter(
        self,
        key: str,
        value: bool
        | typing.SupportsInt
        | typing.SupportsIndex
        | typing.SupportsFloat
        | typing.SupportsIndex
        | str,
    ) -> None: ...
    @property
    def priority(self) -> int: ...
    @priority.setter
    def priority(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def sequence_id(self) -> int | str: ...
    @sequence_id.setter
    def sequence_id(self, arg0: typing.SupportsInt | typing.SupportsIndex | str) -> None: ...
    @property
    def timeout_us(self) -> int: ...
    @timeout_us.setter
    def timeout_us(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...

class InferCompletions:
    def __init__(self) -> None: ...
    def fileno(self) -> int: ...
    def take(self) -> list: ...

class ResponseStream:
    def cancel(self) -> None: ...
    def next(self) -> typing.Any: ...
    def take(self) -> tuple: ...

class GenerateCall:
    """
    A generate request; its answer is taken piece by piece.
    """
    def cancel(self) -> None: ...
    def take(self) -> tuple: ...
    def wait(self, on_ready: typing.Any) -> None: ...

class ByteClaim:
    """
    Bytes being received, counted against max_inflight_bytes.
    """
    def __enter__(self) -> ByteClaim: ...
    def __exit__(self, *args) -> None: ...
    def add(
        self,
        size: typing.SupportsInt | typing.SupportsIndex,
        request_size: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...

class StartedInfer:
    def cancel(self) -> None: ...

class HttpLoop:
    """
    What the HTTP connections of one event loop share.
    """
    def __init__(self, engine: Engine, call_soon: typing.Any, **kwargs) -> None: ...
    def claim_bytes(self) -> ByteClaim: ...
    def close(self) -> None: ...
    def generate(
        self,
        model: str,
        version: typing.SupportsInt | typing.SupportsIndex,
        body: typing_extensions.Buffer,
        stream: bool,
    ) -> GenerateCall: ...
    def infer(
        self,
        model: str,
        version: typing.SupportsInt | typing.SupportsIndex,
        body: typing_extensions.Buffer,
        json_header: str | None,
        on_reply: typing.Any,
    ) -> StartedInfer: ...
    def run(self) -> None: ...
    def set_run(self, run: typing.Any) -> None: ...
    def start_drain(self) -> None: ...
    def wake(self) -> None: ...
    @property
    def draining(self) -> bool: ...
    @property
    def fd(self) -> int: ...

class HttpConnection:
    """
    One HTTP connection; the base of the asyncio protocol class.
    """
    def __new__(cls, *args: typing.Any, **kwargs: typing.Any) -> typing_extensions.Self:
        """
        Create and return a new object.  See help(type) for accurate signature.
        """
    def buffer_updated(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any:
        """
        Bytes were received (asyncio.BufferedProtocol).
        """
    def connection_lost(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any:
        """
        The connection is closed (asyncio.BufferedProtocol).
        """
    def delegate_closed(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any:
        """
        aiohttp wants the connection closed.
        """
    def delegate_ended(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any:
        """
        aiohttp has sent its response; whether the connection is kept alive.
        """
    def delegate_paused(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any:
        """
        Whether aiohttp wants no more bytes for now.
        """
    def drain(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any:
        """
        Closes the connection when no request is in progress.
        """
    def eof_received(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any:
        """
        The peer sends no more (asyncio.BufferedProtocol).
        """
    def get_buffer(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any:
        """
        Where the next bytes are received (asyncio.BufferedProtocol).
        """
    def idle(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any:
        """
        True when no request is in progress.
        """
    def open(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any:
        """
        Begins to serve the asyncio transport.
        """
    def pause_writing(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any:
        """
        The peer does not read (asyncio.BufferedProtocol).
        """
    def resume_writing(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any:
        """
        The peer reads again (asyncio.BufferedProtocol).
        """
    def tick(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any:
        """
        Ends what takes too long.
        """

class GrpcServer:
    """
    The gRPC front end: serves from construction until close(). Administrative calls wait in take_admin_calls(); admin_fd is readable while there are any.
    """
    def __init__(self, engine: Engine, options: dict) -> None: ...
    def answer_admin_call(
        self,
        call_id: typing.SupportsInt | typing.SupportsIndex,
        code: typing.SupportsInt | typing.SupportsIndex,
        message: str,
        response: bytes,
    ) -> None: ...
    def close(self) -> None: ...
    def stop_accepting(self) -> None: ...
    def take_admin_calls(self) -> list:
        """
        A list of (call id, method name, request bytes).
        """
    def wait_drained(self, timeout_s: typing.SupportsFloat | typing.SupportsIndex) -> bool: ...
    @property
    def admin_fd(self) -> int: ...
    @property
    def connections(self) -> int: ...
    @property
    def port(self) -> int: ...

class LoadProtocol:
    """
    Members:

      HTTP

      GRPC
    """

    GRPC: typing.ClassVar[LoadProtocol]
    HTTP: typing.ClassVar[LoadProtocol]
    __members__: typing.ClassVar[dict[str, LoadProtocol]]
    @typing.overload
    def __eq__(self, other: LoadProtocol) -> bool: ...
    @typing.overload
    def __eq__(self, other: typing.Any) -> bool: ...
    def __getstate__(self) -> int: ...
    def __hash__(self) -> int: ...
    def __index__(self) -> int: ...
    def __init__(self, value: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __int__(self) -> int: ...
    @typing.overload
    def __ne__(self, other: LoadProtocol) -> bool: ...
    @typing.overload
    def __ne__(self, other: typing.Any) -> bool: ...
    def __repr__(self) -> str: ...
    def __setstate__(self, state: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __str__(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...

class Arrival:
    """
    Members:

      CLOSED_LOOP

      CONSTANT

      POISSON
    """

    CLOSED_LOOP: typing.ClassVar[Arrival]
    CONSTANT: typing.ClassVar[Arrival]
    POISSON: typing.ClassVar[Arrival]
    __members__: typing.ClassVar[dict[str, Arrival]]
    @typing.overload
    def __eq__(self, other: Arrival) -> bool: ...
    @typing.overload
    def __eq__(self, other: typing.Any) -> bool: ...
    def __getstate__(self) -> int: ...
    def __hash__(self) -> int: ...
    def __index__(self) -> int: ...
    def __init__(self, value: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __int__(self) -> int: ...
    @typing.overload
    def __ne__(self, other: Arrival) -> bool: ...
    @typing.overload
    def __ne__(self, other: typing.Any) -> bool: ...
    def __repr__(self) -> str: ...
    def __setstate__(self, state: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __str__(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...

class LoadOptions:
    """
    What a load generator sends, to where, and how often.
    """

    accept_plain_http2: bool
    arrival: Arrival
    grpc_path: str
    host: str
    port: str
    protocol: LoadProtocol
    def __init__(self) -> None: ...
    def set_requests(self, requests: collections.abc.Sequence[tuple[bytes, typing.Any]]) -> None:
        """
        Pairs of a serialised request and the expected answer (bytes, or None).
        """
    @property
    def abandon_fraction(self) -> float: ...
    @abandon_fraction.setter
    def abandon_fraction(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def abandon_within_s(self) -> float: ...
    @abandon_within_s.setter
    def abandon_within_s(self, arg1: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def concurrency(self) -> int: ...
    @concurrency.setter
    def concurrency(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def connections(self) -> int: ...
    @connections.setter
    def connections(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def grpc_metadata(self) -> list[tuple[str, str]]: ...
    @grpc_metadata.setter
    def grpc_metadata(self, arg0: collections.abc.Sequence[tuple[str, str]]) -> None: ...
    @property
    def max_connections(self) -> int: ...
    @max_connections.setter
    def max_connections(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def max_requests(self) -> int: ...
    @max_requests.setter
    def max_requests(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def request_rate(self) -> float: ...
    @request_rate.setter
    def request_rate(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def request_timeout_s(self) -> float: ...
    @request_timeout_s.setter
    def request_timeout_s(self, arg1: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def seed(self) -> int: ...
    @seed.setter
    def seed(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def threads(self) -> int: ...
    @threads.setter
    def threads(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...

class LoadSnapshot:
    """
    Counts of the sending threads since their start, or of a window.
    """
    def __init__(self) -> None: ...
    def add(self, other: LoadSnapshot) -> None:
        """
        Merges another window into this one.
        """
    def percentile_us(self, percent: typing.SupportsFloat | typing.SupportsIndex) -> float: ...
    def since(self, earlier: LoadSnapshot) -> LoadSnapshot:
        """
        The window from an earlier snapshot to this one.
        """
    @property
    def abandoned(self) -> int: ...
    @property
    def broken(self) -> int: ...
    @property
    def completed(self) -> int: ...
    @property
    def connected(self) -> int: ...
    @property
    def connections(self) -> int: ...
    @property
    def cpu_s(self) -> float: ...
    @property
    def failed(self) -> int: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def late(self) -> int: ...
    @property
    def mean_us(self) -> float: ...
    @property
    def mismatched(self) -> int: ...
    @property
    def overdue(self) -> int: ...
    @property
    def receive_ns(self) -> int: ...
    @property
    def received_bytes(self) -> int: ...
    @property
    def refused(self) -> int: ...
    @property
    def send_ns(self) -> int: ...
    @property
    def sent(self) -> int: ...
    @property
    def sent_bytes(self) -> int: ...
    @property
    def standard_deviation_us(self) -> float: ...
    @property
    def time_s(self) -> float: ...
    @property
    def timed_out(self) -> int: ...

class LoadGenerator:
    """
    Sending threads against one server.
    """
    @staticmethod
    def start(options: LoadOptions) -> LoadGenerator:
        """
        Connects and starts to send.
        """
    def errors(self) -> list[tuple[str, int]]:
        """
        Texts of failures and their number.
        """
    def snapshot(self) -> LoadSnapshot: ...
    def stop(self, grace_s: typing.SupportsFloat | typing.SupportsIndex = 1.0) -> None:
        """
        Stops sending and waits for what is in flight.
        """
    @property
    def beginning(self) -> LoadSnapshot: ...
    @property
    def finished(self) -> bool: ...

class CannedGrpcServer:
    """
    Answers every gRPC call of a method with the same bytes.
    """
    @staticmethod
    def start(
        replies: collections.abc.Mapping[str, bytes],
        port: typing.SupportsInt | typing.SupportsIndex = 0,
    ) -> CannedGrpcServer:
        """
        Serves messages by path on loopback.
        """
    @property
    def port(self) -> int: ...

def escape_for_log(text: str) -> str: ...
def grpc_call(options: LoadOptions) -> tuple[int, str, bytes]:
    """
    One unary gRPC call: its status code, status message and answer.
    """

def log(
    level: str, file: str, line: typing.SupportsInt | typing.SupportsIndex, message: str
) -> None: ...
def log_enabled(level: str, verbosity: typing.SupportsInt | typing.SupportsIndex = 1) -> bool: ...
def log_settings() -> dict: ...
def serialize_bytes(elements: collections.abc.Iterable) -> bytes: ...
def set_log_file(path: str) -> None: ...
def set_log_settings(values: dict) -> None: ...
