"""The model repositories on disk: which models there are, and whether a model's files changed."""

import os
import re
from pathlib import Path

from fastserve import log
from fastserve.errors import InternalError, InvalidArgumentError, UnsupportedError

# Changes whenever a file of the model is added, removed or written.
Fingerprint = frozenset[tuple[str, int, int]]


class ModelRepository:
    """One or several directories whose subdirectories are models. Immutable; every call looks at
    the disk and blocks.
    """

    def __init__(self, directories: list[str]) -> None:
        """InvalidArgumentError names the directory that does not exist."""
        self.directories = [Path(directory) for directory in directories]
        for text, directory in zip(directories, self.directories, strict=True):
            if text.startswith(("s3://", "gs://", "as://")):
                raise UnsupportedError(
                    f"Unsupported: the remote model repository {text} is not offered yet; "
                    "copy it to a directory"
                )
            if not directory.is_dir():
                raise InvalidArgumentError(f"the model repository {text} is not a directory")

    def list_models(self) -> list[str]:
        """The names of all models, sorted. Hidden directories are not models; one whose name is
        not UTF-8 or has control characters is left out with a warning.
        """
        names: set[str] = set()
        for directory in self.directories:
            for entry in os.scandir(directory):
                hidden = re.match(r"\.[^.]", entry.name)
                if not entry.is_dir() or hidden:
                    continue
                if entry.name.isprintable():
                    names.add(entry.name)
                else:  # no protocol can carry such a name, no log line should
                    log.warning(f"{entry.path!a} is left out: its name is no printable text")
        return sorted(names)

    def find(self, name: str) -> Path:
        """The directory of a model.

        InternalError with Triton's text when there is none, or when there are two.
        """
        found = [directory / name for directory in self.directories if (directory / name).is_dir()]
        if not found:
            raise InternalError(f"failed to load '{name}', failed to poll from model repository")
        if len(found) > 1:
            raise InternalError(
                f"failed to load '{name}', failed to poll from model repository: it is in more "
                "than one "
                f"repository: {', '.join(str(path.parent) for path in found)}"
            )
        return found[0]


def fingerprint(model_directory: Path) -> Fingerprint:
    """Names, sizes and modification times of all files of a model, symbolic links followed."""
    entries = []
    visited: set[str] = set()
    for folder, folders, names in os.walk(model_directory, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:  # a link that leads back up
            folders.clear()
            continue
        visited.add(real)
        for name in names:
            path = os.path.join(folder, name)
            try:
                status = os.stat(path)
            except OSError:
                continue  # removed in between: the next look will differ
            entries.append((path, status.st_mtime_ns, status.st_size))
    return frozenset(entries)
