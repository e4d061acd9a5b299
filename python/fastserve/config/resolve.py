"""A model directory -> its complete, validated configuration and one spec per version to serve."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastserve.config.backends import resolve_backend
from fastserve.config.complete import (
    DEFAULT_MAX_BATCH_SIZE,
    Signature,
    check_signature,
    complete_config,
)
from fastserve.config.ensemble import ConfigFinder, derive_decoupled
from fastserve.config.fingerprint import model_fingerprint
from fastserve.config.host_policy import add_host_policies
from fastserve.config.normalize import leaves_batching_open, normalize_config
from fastserve.config.parse import ModelConfig, new_config, read_config
from fastserve.config.paths import check_model_name
from fastserve.config.python_models import (
    complete_python_config,
    is_python_model,
    wants_completion,
)
from fastserve.config.ragged import validate_batch_inputs
from fastserve.config.sequence import validate_sequence_tensors
from fastserve.config.spec import Spec, base_spec, model_spec
from fastserve.config.validate import refuse_unoffered, validate_config
from fastserve.config.versions import list_versions, select_versions
from fastserve.errors import InvalidArgumentError

# Asks the core what a model file declares.
SignatureReader = Callable[[Spec], Signature]
# Asks a Python model to complete its configuration: JSON, "" when it has nothing to say.
PythonCompleter = Callable[[Spec], str]


@dataclass(frozen=True)
class ConfigSettings:
    """What the command line says about configurations."""

    auto_complete: bool = True
    config_name: str = ""  # --model-config-name
    # --backend-config by backend; "" holds the settings of every backend.
    backend_config: dict[str, dict[str, str]] = field(default_factory=dict)
    # Responses are shared with other servers, so their models must be told apart by their files.
    fingerprint_cached_models: bool = False
    # --host-policy by name.
    host_policies: dict[str, dict[str, Any]] = field(default_factory=dict)
    backend_directory: str = ""  # with a folder for each Python-based backend

    def backend_settings(self, backend: str) -> dict[str, str]:
        """The settings of every backend, overridden by those of this one."""
        return {**self.backend_config.get("", {}), **self.backend_config.get(backend, {})}


@dataclass(frozen=True)
class ResolvedModel:
    """A configuration ready to load."""

    config: ModelConfig
    versions: list[int]  # ascending
    specs: list[Spec]  # one per version
    warnings: list[str]


def config_path(model_directory: Path, config_name: str) -> Path:
    """configs/NAME.pbtxt where --model-config-name asks for it and it exists, else config.pbtxt."""
    named = model_directory / "configs" / f"{config_name}.pbtxt"
    return named if config_name and named.exists() else model_directory / "config.pbtxt"


def resolve_model(
    name: str,
    model_directory: Path,
    settings: ConfigSettings,
    read_signature: SignatureReader,
    complete_python: PythonCompleter | None = None,
    config_of: ConfigFinder = lambda _name: None,
) -> ResolvedModel:
    """Reads, completes, checks. `config_of` knows the members of an ensemble. Raises
    fastserve.errors with a message that says what to write. Blocks.
    """
    check_model_name(name)
    config = _read(name, model_directory, settings)
    derive_decoupled(config, config_of)
    existing = list_versions(model_directory)
    newest = model_directory / str(existing[-1]) if existing else None
    resolve_backend(config, newest, settings.backend_directory)
    refuse_unoffered(config)
    validate_sequence_tensors(config)
    validate_batch_inputs(config)
    if settings.auto_complete and complete_python is not None and existing:
        _complete_python(config, existing[-1], model_directory, settings, complete_python)
    self_tuning = leaves_batching_open(config)
    warnings = normalize_config(config)
    versions, version_warnings = select_versions(config, existing)
    if not settings.auto_complete:
        validate_config(config)  # what is missing is told before what disagrees
    if config.backend == "onnxruntime":
        _complete(config, versions, model_directory, settings, read_signature)
    warnings += version_warnings + normalize_config(config) + validate_config(config)
    specs = _specs(config, versions, model_directory, settings, self_tuning=self_tuning)
    warnings += add_host_policies(config, specs, settings.host_policies)
    return ResolvedModel(config, versions, specs, warnings)


def _specs(
    config: ModelConfig,
    versions: list[int],
    model_directory: Path,
    settings: ConfigSettings,
    *,
    self_tuning: bool,
) -> list[Spec]:
    backend_config = settings.backend_settings(config.backend)
    specs = [
        model_spec(config, version, model_directory, backend_config, settings.backend_directory)
        for version in versions
    ]
    for spec in specs:
        if "dynamic_batching" in spec:
            spec["dynamic_batching"]["self_tuning"] = self_tuning
    if settings.fingerprint_cached_models and config.response_cache.enable:
        for version, spec in zip(versions, specs, strict=True):
            spec["cache_fingerprint"] = model_fingerprint(config, version, model_directory)
    return specs


def _read(name: str, model_directory: Path, settings: ConfigSettings) -> ModelConfig:
    path = config_path(model_directory, settings.config_name)
    if path.exists():
        config = read_config(path)
    elif settings.auto_complete:
        config = new_config()
    else:
        raise InvalidArgumentError(
            f"model '{name}' has no config.pbtxt, and completing configurations is switched off; "
            f"write {path}"
        )
    if config.name and config.name != name:
        raise InvalidArgumentError(
            f"unexpected directory name '{name}' for model '{config.name}', directory name must "
            "equal model name"
        )
    config.name = name
    return config


def _complete(
    config: ModelConfig,
    versions: list[int],
    model_directory: Path,
    settings: ConfigSettings,
    read_signature: SignatureReader,
) -> None:
    """Completes from the newest version; every version must then agree."""
    backend_config = settings.backend_settings(config.backend)
    default_text = backend_config.get("default-max-batch-size", str(DEFAULT_MAX_BATCH_SIZE))
    for version in reversed(versions):
        signature = read_signature(base_spec(config, version, model_directory, backend_config))
        if settings.auto_complete and version == versions[-1]:
            complete_config(config, signature, int(default_text))
        check_signature(config, signature)


def _complete_python(
    config: ModelConfig,
    version: int,
    model_directory: Path,
    settings: ConfigSettings,
    complete_python: PythonCompleter,
) -> None:
    """Asks the newest version's auto_complete_config."""
    if not is_python_model(config, settings.backend_directory):
        return
    spec = base_spec(
        config,
        version,
        model_directory,
        settings.backend_settings(config.backend),
        settings.backend_directory,
    )
    if wants_completion(config, Path(spec["path"])):
        completed = complete_python(spec)
        if completed:
            complete_python_config(config, completed)
