"""Version directories of a model and the ones its version_policy selects."""

import re
from pathlib import Path

from fastserve.config.parse import ModelConfig
from fastserve.errors import InvalidArgumentError


def list_versions(model_directory: Path) -> list[int]:
    """The version numbers for which there is a directory, ascending. Names that are not positive
    numbers do not count.
    """
    names = (entry.name for entry in model_directory.iterdir() if entry.is_dir())
    versions = [int(name) for name in names if re.fullmatch(r"[1-9][0-9]{0,18}", name)]
    return sorted(version for version in versions if version < 2**63)


def select_versions(config: ModelConfig, existing: list[int]) -> tuple[list[int], list[str]]:
    """The versions to serve, ascending, and warnings about specific versions that do not exist.

    InvalidArgumentError when none is left.
    """
    policy = config.version_policy
    choice = policy.WhichOneof("policy_choice")
    warnings = []
    if choice == "all":
        selected = existing
    elif choice == "specific":
        wanted = sorted(set(policy.specific.versions))
        selected = [version for version in wanted if version in existing]
        warnings = [
            f"version {version} is specified for model '{config.name}', but the version directory "
            "is not present"
            for version in wanted
            if version not in existing
        ]
    else:
        count = max(policy.latest.num_versions, 1) if choice == "latest" else 1
        selected = existing[-count:]
    if not selected:
        raise InvalidArgumentError(
            "at least one version must be available under the version policy of model "
            f"'{config.name}'; "
            f"its directory holds the versions {existing}"
        )
    return selected, warnings
