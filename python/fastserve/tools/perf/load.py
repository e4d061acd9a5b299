"""Turns settings into the options of the C++ sending threads."""

from fastserve import _core
from fastserve.tools.perf import payload
from fastserve.tools.perf.endpoint import SERVICE
from fastserve.tools.perf.failure import PerfError
from fastserve.tools.perf.input_data import Request
from fastserve.tools.perf.model import ModelUnderLoad, Target
from fastserve.tools.perf.settings import CALLERS_PER_CONNECTION, Settings

ARRIVALS = {"constant": _core.Arrival.CONSTANT, "poisson": _core.Arrival.POISSON}


def target_of(settings: Settings) -> Target:
    """Host and port from -u; the default port is the protocol's."""
    url = settings.url
    if url.startswith("https://"):
        raise PerfError(f"-u {url}: TLS is not offered; give host:port without https://")
    host_port = url.removeprefix("http://").removeprefix("grpc://").rstrip("/")
    default_port = "8001" if settings.protocol == "grpc" else "8000"
    host, colon, port = host_port.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = host_port, default_port
    if not port.isdigit() or "/" in host:
        raise PerfError(f"-u {url}: expected host:port")
    return Target(settings.protocol, host.strip("[]"), port, host_port, settings.headers)


def serialise(
    settings: Settings, target: Target, model: ModelUnderLoad, requests: list[Request]
) -> list[bytes]:
    """Every request as bytes on the wire."""
    if target.protocol == "grpc":
        return [payload.grpc_message(model, tensors) for tensors in requests]
    wire = []
    for tensors in requests:
        body, json_size = payload.http_body(
            tensors, json_input=settings.json_input, json_output=settings.json_output
        )
        wire.append(payload.http_request(target, model, body, json_size))
    return wire


def load_options(
    settings: Settings, target: Target, messages: list[bytes], level: float
) -> _core.LoadOptions:
    """The options of one level: so many in flight, or so many a second."""
    sending = settings.sending
    options = _core.LoadOptions()
    options.host, options.port = target.host, target.port
    options.threads = sending.threads
    options.seed = sending.seed
    options.request_timeout_s = sending.request_timeout_s
    options.max_requests = settings.measuring.request_count
    closed_loop = settings.levels.kind == "concurrency"
    options.concurrency = int(level) if closed_loop else sending.max_in_flight
    if not closed_loop:
        options.arrival = ARRIVALS[settings.levels.distribution]
        options.request_rate = level
    if target.protocol == "grpc":
        options.protocol = _core.LoadProtocol.GRPC
        options.grpc_path = SERVICE + "ModelInfer"
        options.grpc_metadata = [(name.lower(), value) for name, value in target.headers]
        shared = -(-options.concurrency // CALLERS_PER_CONNECTION) if closed_loop else 8
        options.connections = min(sending.grpc_connections or shared, options.concurrency)
        options.max_connections = options.connections
    else:
        options.connections = options.concurrency if closed_loop else sending.threads
        options.max_connections = options.concurrency
    options.set_requests([(message, None) for message in messages])
    return options
