"""Asks the server under load for the model's metadata, configuration and statistics."""

import http.client
import json
from typing import Any, Protocol

from fastserve import _core
from fastserve.tools.perf import wire
from fastserve.tools.perf.failure import PerfError
from fastserve.tools.perf.model import ModelUnderLoad, ServerTimes, Target, TensorSpec

ASK_TIMEOUT_S = 30.0
SERVICE = "/inference.GRPCInferenceService/"


class Endpoint(Protocol):
    """The questions; HTTP and gRPC answer them."""

    def model(self, name: str, version: str) -> ModelUnderLoad:
        """The model's metadata. Raises PerfError when the server does not know it."""

    def times(self, name: str, version: str) -> ServerTimes | None:
        """The server's statistics; None when it offers none."""


def connect(target: Target) -> Endpoint:
    return GrpcEndpoint(target) if target.protocol == "grpc" else HttpEndpoint(target)


def _batches_by_shape(inputs: tuple[TensorSpec, ...]) -> int:
    """Without a configuration: a model whose inputs all begin with a free dimension batches."""
    return 1 << 30 if inputs and all(spec.shape[:1] == (-1,) for spec in inputs) else 0


class HttpEndpoint:
    """KServe v2 over HTTP with Python's own client."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def _get(self, path: str) -> tuple[int, Any]:
        host, port = self._target.host, int(self._target.port)
        connection = http.client.HTTPConnection(host, port, timeout=ASK_TIMEOUT_S)
        try:
            connection.request("GET", path, headers=dict(self._target.headers))
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise PerfError(f"cannot ask {self._target.url}{path}: {error}") from error
        finally:
            connection.close()
        try:
            return response.status, json.loads(body)
        except ValueError:
            return response.status, {}

    def model(self, name: str, version: str) -> ModelUnderLoad:
        path = model_path(name, version)
        status, metadata = self._get(path)
        if status != 200:
            reason = metadata.get("error", "") if isinstance(metadata, dict) else ""
            raise PerfError(f"{self._target.url}{path} answers {status}: {reason}")
        inputs = tuple(
            TensorSpec(item["name"], item["datatype"], tuple(int(dim) for dim in item["shape"]))
            for item in metadata["inputs"]
        )
        status, config = self._get(path + "/config")
        known = status == 200 and isinstance(config, dict)
        limit = config.get("max_batch_size", 0) if known else _batches_by_shape(inputs)
        outputs = tuple(item["name"] for item in metadata.get("outputs", []))
        return ModelUnderLoad(name, version, inputs, outputs, int(limit))

    def times(self, name: str, version: str) -> ServerTimes | None:
        status, answer = self._get(model_path(name, version) + "/stats")
        if status != 200 or not answer.get("model_stats"):
            return None
        entry = answer["model_stats"][-1]
        stats = entry.get("inference_stats", {})

        def total(kind: str, what: str = "ns") -> int:
            return int(stats.get(kind, {}).get(what, 0))

        return ServerTimes(
            successes=total("success", "count"),
            queue_ns=total("queue"),
            compute_input_ns=total("compute_input"),
            compute_infer_ns=total("compute_infer"),
            compute_output_ns=total("compute_output"),
            executions=int(entry.get("execution_count", 0)),
            inferences=int(entry.get("inference_count", 0)),
        )


def model_path(name: str, version: str) -> str:
    return f"/v2/models/{name}" + (f"/versions/{version}" if version else "")


class GrpcEndpoint:
    """KServe v2 over gRPC with the load generator's own client."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def _call(self, method: str, name: str, version: str) -> tuple[int, str, bytes]:
        options = _core.LoadOptions()
        options.protocol = _core.LoadProtocol.GRPC
        options.host, options.port = self._target.host, self._target.port
        options.grpc_path = SERVICE + method
        options.grpc_metadata = [(key.lower(), value) for key, value in self._target.headers]
        options.request_timeout_s = ASK_TIMEOUT_S
        message = wire.length_field(1, name) + (wire.length_field(2, version) if version else b"")
        options.set_requests([(message, None)])
        try:
            code, reason, answer = _core.grpc_call(options)
        except _core.FastserveError as error:
            raise PerfError(f"cannot ask {self._target.url} for {method}: {error}") from error
        return code, reason, answer

    def model(self, name: str, version: str) -> ModelUnderLoad:
        code, reason, answer = self._call("ModelMetadata", name, version)
        if code != 0:
            raise PerfError(f"{self._target.url} ModelMetadata answers gRPC {code}: {reason}")
        inputs = tuple(
            TensorSpec(wire.text(item, 1), wire.text(item, 2), tuple(wire.integers(item, 3)))
            for item in wire.messages(answer, 4)
        )
        outputs = tuple(wire.text(item, 1) for item in wire.messages(answer, 5))
        code, _, config = self._call("ModelConfig", name, version)
        if code == 0:
            limit = wire.integer(b"".join(wire.messages(config, 1)), 4)
        else:
            limit = _batches_by_shape(inputs)
        return ModelUnderLoad(name, version, inputs, outputs, limit)

    def times(self, name: str, version: str) -> ServerTimes | None:
        code, _, answer = self._call("ModelStatistics", name, version)
        entries = wire.messages(answer, 1) if code == 0 else []
        if not entries:
            return None
        stats = b"".join(wire.messages(entries[-1], 6))

        def total(kind: int, what: int = 2) -> int:
            return wire.integer(b"".join(wire.messages(stats, kind)), what)

        return ServerTimes(
            successes=total(1, 1),
            queue_ns=total(3),
            compute_input_ns=total(4),
            compute_infer_ns=total(5),
            compute_output_ns=total(6),
            executions=wire.integer(entries[-1], 5),
            inferences=wire.integer(entries[-1], 4),
        )
