"""The life of every model: one state machine per model, entered by asynchronous operations.

(absent) --load--> LOADING --> READY --unload--> UNLOADING --> UNAVAILABLE
"unloaded" |          ^  \\ v          |   load: the new versions load
side by side; the old ones serve until the new UNAVAILABLE     +-- ones
are published at once, and keep serving when the load fails (reason)
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastserve import log
from fastserve.config.complete import Signature
from fastserve.config.ensemble import member_names
from fastserve.config.parse import ModelConfig, read_config
from fastserve.config.paths import check_model_name
from fastserve.config.resolve import (
    ConfigSettings,
    ResolvedModel,
    config_path,
    resolve_model,
)
from fastserve.config.spec import Spec
from fastserve.control.dependents import dependents
from fastserve.control.operations import OperationQueue, after_all
from fastserve.control.repository import Fingerprint, ModelRepository, fingerprint
from fastserve.errors import FastserveError, InvalidArgumentError
from fastserve.types import ModelState, VersionStatus

UNLOADED = "unloaded"
# How long an operation itself waits for the last requests of a replaced version; longer drains go
# on in the background.
_DRAIN_INLINE_S = 0.05


@dataclass
class ModelRecord:
    """What is known of one model. Written by its one running operation, under Lifecycle's lock."""

    # By version; version 0 stands for a model that failed before its versions were known.
    versions: dict[int, VersionStatus] = field(default_factory=dict)
    config: ModelConfig | None = None
    fingerprint: Fingerprint = frozenset()

    @property
    def ready_versions(self) -> list[int]:
        return sorted(v for v, status in self.versions.items() if status.state is ModelState.READY)


@dataclass(frozen=True)
class _Load:
    """What load() was asked for."""

    name: str
    outer: frozenset[str]
    from_model: bool


class Lifecycle:
    """Loads and unloads models. Thread safe; load() and unload() return at once with a future."""

    def __init__(
        self,
        engine: Any,
        repository: ModelRepository,
        settings: ConfigSettings,
        require_backend: Callable[[str], None],
        thread_count: int = 4,
        retry_count: int = 0,
    ) -> None:
        self._engine = engine
        self._repository = repository
        self._settings = settings
        self._require_backend = require_backend
        self._retry_count = retry_count
        self._operations = OperationQueue(thread_count)
        self._lock = threading.Lock()
        self._records: dict[str, ModelRecord] = {}  # guarded by _lock

    def load(
        self, name: str, outer: frozenset[str] = frozenset(), *, from_model: bool = False
    ) -> "Future[None]":
        """Loads or reloads a model. The future fails with what went wrong; an old version then
        serves on.

        Members of an ensemble that are in the repository and not loaded are loaded first; one that
        fails fails the future, too, and the ensemble is not ready until it is there. `outer` are
        the models for whose sake this one is loaded, which are not waited for. `from_model`: the
        code of a model asks for it.
        """
        later: list[Future[None]] = []
        load = _Load(name, outer, from_model)
        first = self._submit(load, name, lambda: self._load_with_members(load, later))
        return after_all([first], lambda: later[0] if later else first)

    def _submit(self, load: _Load, name: str, operation: Callable[[], None]) -> "Future[None]":
        """For the sake of `load`."""
        return self._operations.submit(name, operation, from_model=load.from_model)

    def unload(
        self, name: str, with_members: bool = False, *, from_model: bool = False
    ) -> "Future[None]":
        """Takes a model away from new requests; those in flight finish. Unknown names are no error,
        as in Triton. With its members, those of an ensemble go once its last request has ended.
        """
        later: list[Future[None]] = []
        first = self._operations.submit(
            name, lambda: self._unload(name, with_members, later), from_model=from_model
        )
        return after_all([first], lambda: after_all(list(later), lambda: first))

    def snapshot(self) -> dict[str, dict[int, VersionStatus]]:
        """Every model that was ever asked for, with the state of its versions."""
        with self._lock:
            return {name: dict(record.versions) for name, record in self._records.items()}

    def config(self, name: str) -> tuple[ModelConfig, list[int]]:
        """The configuration that serves now and the ready versions. KeyError when nothing was ever
        published.
        """
        with self._lock:
            record = self._records[name]
            if record.config is None:
                raise KeyError(name)
            return record.config, record.ready_versions

    def all_ready(self) -> bool:
        """True when every version is ready, or was taken away on purpose (strict readiness)."""
        with self._lock:
            return all(
                status.state in (ModelState.READY, ModelState.UNLOADING)
                or status.reason == UNLOADED
                for record in self._records.values()
                for status in record.versions.values()
            )

    def busy(self) -> bool:
        """Whether a load or unload runs or is queued."""
        return self._operations.busy()

    def close(self) -> None:
        """Waits for running operations."""
        self._operations.shutdown()

    # --- inside an operation: one at a time per model
    # ---------------------------------------------------------

    def _load_with_members(self, load: _Load, later: "list[Future[None]]") -> None:
        """Loads a model, or starts to load the missing members of an ensemble and puts into `later`
        what loads it after them. No thread waits for them meanwhile.
        """
        name = load.name
        members = [
            future
            for member in self._configured_members(name)
            if member not in load.outer | {name} and (future := self._load_member(load, member))
        ]
        if not members:
            self._load(name)
            return

        def load_after() -> None:
            self._load(name)
            for member in members:
                member.result()  # is there: raises what went wrong with it

        later.append(after_all(members, lambda: self._submit(load, name, load_after)))

    def _configured_members(self, name: str) -> list[str]:
        config = self._read_config(name)
        return member_names(config) if config is not None else []

    def _read_config(self, name: str) -> ModelConfig | None:
        """What the files say now; whatever is wrong with them, loading the model will tell."""
        try:
            check_model_name(name)
            path = config_path(self._repository.find(name), self._settings.config_name)
            return read_config(path) if path.is_file() else None
        except FastserveError:
            return None

    def _member_config(self, name: str) -> ModelConfig | None:
        """What serves now; of a model that is not loaded, what the files say."""
        with self._lock:
            record = self._records.get(name)
            if record is not None and record.ready_versions:
                return record.config
        return self._read_config(name)

    def _load_member(self, ensemble: _Load, name: str) -> "Future[None] | None":
        """Loads a member that is not loaded, or waits for what is being done with it."""
        with self._lock:
            record = self._records.get(name)
            if record is not None and record.ready_versions:
                return None
        if self._operations.pending(name):
            return self._submit(ensemble, name, lambda: None)
        try:
            check_model_name(name)
            self._repository.find(name)
        except FastserveError:
            log.warning(f"ensemble '{ensemble.name}': its member '{name}' is not in the repository")
            return None
        return self.load(name, ensemble.outer | {ensemble.name}, from_model=ensemble.from_model)

    def _load(self, name: str) -> None:
        record = self._record(name)
        try:
            directory = self._repository.find(name)
        except FastserveError as error:
            log.error(str(error))
            if not record.versions:
                self._forget(name)
            raise
        files = fingerprint(directory)
        if record.ready_versions and files == record.fingerprint:
            return  # nothing changed, as in Triton
        with self._lock:
            if not record.versions:
                record.versions[0] = VersionStatus(ModelState.LOADING)
        try:
            resolved, handles = self._load_with_retries(name, directory, record)
        except Exception as error:  # whatever it is, the state says so and the others go on
            self._record_failure(name, record, str(error))
            raise InvalidArgumentError(f"load failed for model '{name}': {error}") from error
        self._publish(name, record, resolved, handles)
        record.fingerprint = files

    def _load_with_retries(
        self, name: str, directory: Path, record: ModelRecord
    ) -> tuple[ResolvedModel, list[Any]]:
        for attempt in range(self._retry_count + 1):
            try:
                return self._load_versions(name, directory, record)
            except FastserveError as error:
                if attempt == self._retry_count:
                    raise
                log.warning(f"loading model '{name}' failed, trying again: {error}")
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _read_signature(self, spec: Spec) -> Signature:
        self._require_backend(spec["backend"])
        signature: Signature = self._engine.read_signature(spec)
        return signature

    def _complete_python(self, spec: Spec) -> str:
        self._require_backend(spec["backend"])
        return str(self._engine.auto_complete(spec))

    def _load_versions(
        self, name: str, directory: Path, record: ModelRecord
    ) -> tuple[ResolvedModel, list[Any]]:
        resolved = resolve_model(
            name,
            directory,
            self._settings,
            self._read_signature,
            self._complete_python,
            self._member_config,
        )
        for warning in resolved.warnings:
            log.warning(f"model '{name}': {warning}")
        with self._lock:
            record.versions.pop(0, None)
            for version in resolved.versions:
                if version not in record.ready_versions:
                    record.versions[version] = VersionStatus(ModelState.LOADING)
        self._require_backend(resolved.config.backend)
        handles = []
        for spec in resolved.specs:
            log.info(f"loading: {name}:{spec['version']}")
            started = time.monotonic()
            handle = self._engine.load_model(spec)
            self._engine.set_load_duration(handle, time.monotonic() - started)
            handles.append(handle)
        return resolved, handles

    def _publish(
        self, name: str, record: ModelRecord, resolved: ResolvedModel, handles: list[Any]
    ) -> None:
        replaced = self._engine.publish(name, handles)
        with self._lock:
            gone = set(record.versions) - set(resolved.versions)
            for version in gone:
                record.versions[version] = VersionStatus(ModelState.UNAVAILABLE, UNLOADED)
            for version in resolved.versions:
                record.versions[version] = VersionStatus(ModelState.READY)
            record.config = resolved.config
        for version in resolved.versions:
            log.info(f"successfully loaded '{name}' version {version}")
        self._drain(replaced, lambda: None)

    def _record_failure(self, name: str, record: ModelRecord, reason: str) -> None:
        log.error(f"failed to load '{name}': {reason}")
        failed = VersionStatus(ModelState.UNAVAILABLE, reason)
        with self._lock:
            loading = [v for v, s in record.versions.items() if s.state is ModelState.LOADING]
            if not loading and not record.ready_versions:
                loading = [version for version in record.versions if version] or [0]
            for version in loading:
                record.versions[version] = failed

    def _unload(self, name: str, with_members: bool, later: "list[Future[None]]") -> None:
        with self._lock:
            record = self._records.get(name)
            if record is None:
                return
            members = dependents(name, self._ensembles()) if with_members else []
            record.fingerprint = frozenset()
            for version in record.ready_versions:
                record.versions[version] = VersionStatus(ModelState.UNLOADING)
            if not any(s.state is ModelState.UNLOADING for s in record.versions.values()):
                unloaded = VersionStatus(ModelState.UNAVAILABLE, UNLOADED)
                record.versions = dict.fromkeys(record.versions, unloaded)
                return

        def finished() -> None:
            self._finish_unload(name, record)
            later.extend(self.unload(member) for member in members)

        self._drain(self._engine.publish(name, []), finished)

    def _ensembles(self) -> dict[str, list[str]]:
        """The loaded ensembles and their members. The lock is held."""
        return {
            name: member_names(record.config)
            for name, record in self._records.items()
            if record.config is not None and record.ready_versions
        }

    def _finish_unload(self, name: str, record: ModelRecord) -> None:
        with self._lock:
            for version, status in record.versions.items():
                if status.state is ModelState.UNLOADING:
                    record.versions[version] = VersionStatus(ModelState.UNAVAILABLE, UNLOADED)
        log.info(f"successfully unloaded '{name}'")

    def _drain(self, handles: list[Any], finished: Callable[[], None]) -> None:
        """Waits for the last requests of replaced versions and drops them; long waits go to the
        background.
        """
        busy = [handle for handle in handles if not self._engine.drain(handle, _DRAIN_INLINE_S)]
        for handle in handles:
            if handle not in busy:
                handle.release()
        if not busy:
            finished()
            return

        def wait() -> None:
            for handle in busy:
                self._engine.drain(handle, -1.0)
                handle.release()
            finished()

        threading.Thread(target=wait, name="model-drain", daemon=True).start()

    def _record(self, name: str) -> ModelRecord:
        with self._lock:
            return self._records.setdefault(name, ModelRecord())

    def _forget(self, name: str) -> None:
        with self._lock:
            self._records.pop(name, None)
