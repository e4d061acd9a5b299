"""The operations that HTTP, gRPC and the in-process API share: each is written here once.

Names and versions are str ("" is any version); results are plain JSON-able dicts with protobuf-JSON
key names; failures raise the exceptions of fastserve.errors.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from fastserve.config.parse import ModelConfig, config_to_dict
from fastserve.config.paths import check_model_name
from fastserve.control import metadata
from fastserve.control.lifecycle import Lifecycle
from fastserve.control.log_settings import read_log_settings, write_log_settings
from fastserve.control.repository import ModelRepository
from fastserve.errors import InvalidArgumentError, UnavailableError, UnsupportedError
from fastserve.types import ModelState, parse_version


@dataclass(frozen=True)
class ControlSettings:
    """What the command line says about the control plane."""

    server_name: str = "triton"
    server_version: str = ""
    explicit: bool = False  # --model-control-mode
    strict_readiness: bool = True
    log_file: str = ""


class ControlPlane:
    """The facade of the control plane. Thread safe; async methods never block the loop."""

    def __init__(
        self,
        engine: Any,
        repository: ModelRepository,
        lifecycle: Lifecycle,
        settings: ControlSettings | None = None,
    ) -> None:
        settings = settings or ControlSettings()
        self._engine = engine
        self._repository = repository
        self._lifecycle = lifecycle
        self._server = {
            "name": settings.server_name,
            "version": settings.server_version,
            "extensions": metadata.EXTENSIONS,
        }
        self._explicit = settings.explicit
        self._strict_readiness = settings.strict_readiness
        self._log_file = settings.log_file
        self._asked: dict[tuple[str, int | None], asyncio.Future[Any]] = {}
        self._metrics: Callable[[], str] = engine.metrics_text

    # --- health ---

    def is_live(self) -> bool:
        return bool(self._engine.live)

    def is_ready(self) -> bool:
        return bool(self._engine.live and self._engine.ready)

    def model_ready(self, name: str, version: str = "") -> bool:
        """False for unknown models too, as in Triton. InvalidArgumentError for a bad version."""
        return bool(self._engine.model_state(name, parse_version(version)) == "READY")

    async def check_model_ready(self, name: str, version: str = "") -> bool:
        """As model_ready, and asks the model itself where it can be asked (is_ready)."""
        number = parse_version(version)
        if not self.model_ready(name, version):
            return False
        if not self._engine.readiness_is_asked(name, number):
            return True
        return await asyncio.shield(self._why_not_ready(name, number)) is None

    def _why_not_ready(self, name: str, number: int | None) -> asyncio.Future[Any]:
        """One question at a time to a model, however many ask: it may hang for seconds."""
        asked = self._asked.get((name, number))
        if asked is None:
            asked = asyncio.ensure_future(
                asyncio.to_thread(self._engine.why_not_ready, name, number)
            )
            asked.add_done_callback(lambda _: self._asked.pop((name, number)))
            self._asked[name, number] = asked
        return asked

    def update_readiness(self) -> None:
        """Tells the core whether the server is ready; called when a model's state changed."""
        self._engine.set_ready(not self._strict_readiness or self._lifecycle.all_ready())

    def set_metrics_text(self, metrics_text: Callable[[], str]) -> None:
        """Replaces the source of metrics_text(), which is the core alone until then."""
        self._metrics = metrics_text

    # --- metadata, configuration, statistics ---

    async def server_metadata(self) -> dict[str, Any]:
        return dict(self._server)

    async def model_metadata(self, name: str, version: str = "") -> dict[str, Any]:
        config, versions = self._published(name, version)
        return metadata.model_metadata(config, versions)

    async def model_config(self, name: str, version: str = "") -> dict[str, Any]:
        return config_to_dict(self.model_config_message(name, version))

    def model_config_message(self, name: str, version: str = "") -> ModelConfig:
        """The ModelConfig message itself (of config.schema's pool); not to be changed."""
        return self._published(name, version)[0]

    async def model_statistics(self, name: str = "", version: str = "") -> str:
        """The statistics extension's answer as JSON text; that of all models is made off the
        loop.
        """
        number = parse_version(version)
        if name:
            return str(self._engine.statistics_json(name, number))
        return str(await asyncio.to_thread(self._engine.statistics_json, "", number))

    def _published(self, name: str, version: str) -> tuple[ModelConfig, list[int]]:
        # The engine knows what is published, and raises with Triton's texts.
        self._engine.model_version(name, parse_version(version))
        return self._lifecycle.config(name)

    def metrics_text(self) -> str:
        return self._metrics()

    # --- model repository ---

    async def repository_index(self, ready_only: bool = False) -> list[dict[str, str]]:
        """One entry per version of a model that was loaded, one per model that never was."""
        names = await asyncio.to_thread(self._repository.list_models)
        states = self._lifecycle.snapshot()
        index: list[dict[str, str]] = []
        for name in sorted({*names, *states}):
            versions = states.get(name)
            if not versions:
                index.append({"name": name})
                continue
            for version, status in sorted(versions.items()):
                entry = {"name": name, "version": str(version or ""), "state": status.state.value}
                index.append({**entry, "reason": status.reason} if status.reason else entry)
        if ready_only:
            return [entry for entry in index if entry.get("state") == ModelState.READY.value]
        return index

    async def load_model(self, name: str, parameters: dict[str, Any] | None = None) -> None:
        await self._finish(self.start_load(name, parameters))

    async def unload_model(self, name: str, parameters: dict[str, Any] | None = None) -> None:
        await self._finish(self.start_unload(name, parameters))

    def start_load(
        self,
        name: str,
        parameters: dict[str, Any] | None = None,
        waiting: frozenset[str] | None = None,
    ) -> "Future[None]":
        """Returns at once; the future fails with what went wrong. `waiting`: the code of a model
        asks for it, and these models' own loads wait for it; None: a client does.
        """
        self._check_explicit()
        check_model_name(name)
        for key in parameters or {}:
            if key == "config" or key.startswith("file:"):
                raise UnsupportedError(
                    f"the load parameter '{key}' is not offered yet; "
                    "write the files into the model repository and load without it"
                )
            raise InvalidArgumentError(f"unknown load parameter '{key}'")
        return self._followed(
            self._lifecycle.load(name, waiting or frozenset(), from_model=waiting is not None)
        )

    def start_unload(
        self, name: str, parameters: dict[str, Any] | None = None, *, from_model: bool = False
    ) -> "Future[None]":
        """Returns at once; the future ends when the model takes no new requests. Requests in flight
        are waited for behind it. `from_model`: the code of a model asks for it.
        """
        self._check_explicit()
        check_model_name(name)
        for key, value in (parameters or {}).items():
            if key != "unload_dependents":
                raise InvalidArgumentError(f"unknown unload parameter '{key}'")
            if not isinstance(value, bool):
                raise InvalidArgumentError(f"'unload_dependents' must be a boolean, not {value!r}")
        with_members = bool((parameters or {}).get("unload_dependents"))
        return self._followed(self._lifecycle.unload(name, with_members, from_model=from_model))

    def _check_explicit(self) -> None:
        if not self._explicit:
            raise UnavailableError(
                "explicit model load / unload is not allowed if polling is enabled or models are "
                "loaded at start only; use --model-control-mode=explicit"
            )

    def _followed(self, operation: "Future[None]") -> "Future[None]":
        operation.add_done_callback(lambda _: self.update_readiness())
        return operation

    async def _finish(self, operation: "Future[None]") -> None:
        # A caller that goes away does not undo what it asked for: the operation goes on, readiness
        # follows it, and its failure is in the log and in the index.
        waiting = asyncio.wrap_future(operation)
        waiting.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.shield(waiting)

    # --- log settings ---

    async def log_settings(self) -> dict[str, Any]:
        return read_log_settings(self._log_file)

    async def update_log_settings(self, values: dict[str, Any]) -> dict[str, Any]:
        """Applies the given settings and returns all of them."""
        write_log_settings(values)
        return read_log_settings(self._log_file)
