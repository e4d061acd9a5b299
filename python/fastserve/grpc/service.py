"""The administrative calls of inference.GRPCInferenceService: request bytes in, response bytes out.

Each method delegates to the control plane, which HTTP uses as well.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from fastserve import log
from fastserve.control.plane import ControlPlane
from fastserve.control.shared_memory import refusal as shared_memory_refusal
from fastserve.control.shared_memory import region_status
from fastserve.errors import FastserveError, InvalidArgumentError, UnsupportedError
from fastserve.grpc.messages import message_class

_OK = 0
_UNKNOWN = 2
_INTERNAL = 13

# (gRPC status code, message, response bytes)
Answer = tuple[int, str, bytes]


class AdminService:
    """Answers administrative calls. One method per RPC, found by name."""

    def __init__(self, control: ControlPlane) -> None:
        self._control = control
        self._methods: dict[str, Callable[[Any, Any], Awaitable[None]]] = {
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelReady": self._model_ready,
            "ModelConfig": self._model_config,
            "ModelStatistics": self._model_statistics,
            "RepositoryIndex": self._repository_index,
            "RepositoryModelLoad": self._model_load,
            "RepositoryModelUnload": self._model_unload,
            "LogSettings": self._log_settings,
            "SystemSharedMemoryStatus": self._system_regions,
            "CudaSharedMemoryStatus": self._cuda_regions,
            "SystemSharedMemoryRegister": self._no_shared_memory,
            "SystemSharedMemoryUnregister": self._no_shared_memory,
            "CudaSharedMemoryRegister": self._no_shared_memory,
            "CudaSharedMemoryUnregister": self._no_shared_memory,
            "TraceSetting": self._no_tracing,
        }

    async def answer(self, method: str, request_bytes: bytes) -> Answer:
        """Never raises: every failure becomes a gRPC status."""
        try:
            request = message_class(f"{method}Request").FromString(request_bytes)
            response = message_class(f"{method}Response")()
            await self._methods[method](request, response)
        except DecodeError as error:
            return _INTERNAL, f"the message is not a {method}Request: {error}", b""
        except FastserveError as error:
            return int(getattr(error, "grpc_code", _UNKNOWN)), str(error), b""
        except Exception as error:
            log.error(f"gRPC {method} failed: {error!r}")
            return _INTERNAL, f"{method} failed: {error}", b""
        return _OK, "", response.SerializeToString()

    async def _server_metadata(self, _request: Any, response: Any) -> None:
        json_format.ParseDict(await self._control.server_metadata(), response)

    async def _model_metadata(self, request: Any, response: Any) -> None:
        values = await self._control.model_metadata(request.name, request.version)
        json_format.ParseDict(values, response)

    async def _model_ready(self, request: Any, response: Any) -> None:
        """Of a model that can be asked; the core answers for all others."""
        response.ready = await self._control.check_model_ready(request.name, request.version)

    async def _model_config(self, request: Any, response: Any) -> None:
        config = self._control.model_config_message(request.name, request.version)
        response.config.CopyFrom(config)

    async def _model_statistics(self, request: Any, response: Any) -> None:
        text = await self._control.model_statistics(request.name, request.version)
        json_format.Parse(text, response)

    async def _repository_index(self, request: Any, response: Any) -> None:
        models = await self._control.repository_index(request.ready)
        json_format.ParseDict({"models": models}, response)

    async def _model_load(self, request: Any, _response: Any) -> None:
        await self._control.load_model(request.model_name, _parameters(request))

    async def _model_unload(self, request: Any, _response: Any) -> None:
        await self._control.unload_model(request.model_name, _parameters(request))

    async def _log_settings(self, request: Any, response: Any) -> None:
        values = {key: _setting(key, value) for key, value in request.settings.items()}
        settings = (
            await self._control.update_log_settings(values)
            if values
            else await self._control.log_settings()
        )
        for key, value in settings.items():
            _set_setting(response.settings[key], value)

    async def _system_regions(self, request: Any, _response: Any) -> None:
        region_status("system", request.name)  # there is none to list

    async def _cuda_regions(self, request: Any, _response: Any) -> None:
        region_status("cuda", request.name)

    async def _no_shared_memory(self, _request: Any, _response: Any) -> None:
        raise shared_memory_refusal()

    async def _no_tracing(self, _request: Any, _response: Any) -> None:
        raise UnsupportedError("trace settings are not offered by this server")


def _parameters(request: Any) -> dict[str, Any]:
    """The load or unload parameters as plain values."""
    values: dict[str, Any] = {}
    for key, parameter in request.parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        if choice is None:
            raise InvalidArgumentError(f"parameter '{key}' has no value")
        values[key] = getattr(parameter, choice)
    return values


def _setting(key: str, value: Any) -> Any:
    choice = value.WhichOneof("parameter_choice")
    if choice is None:
        raise InvalidArgumentError(f"log setting {json.dumps(key)} has no value")
    return getattr(value, choice)


def _set_setting(target: Any, value: Any) -> None:
    if isinstance(value, bool):
        target.bool_param = value
    elif isinstance(value, int):
        target.uint32_param = value
    else:
        target.string_param = str(value)
