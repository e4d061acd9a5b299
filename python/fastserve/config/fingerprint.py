"""A fingerprint of a model's files and configuration, by which servers share cached responses."""

import hashlib
import os
from pathlib import Path

from fastserve.config.parse import ModelConfig

_CHUNK_BYTES = 1 << 20


def model_fingerprint(config: ModelConfig, version: int, model_directory: Path) -> str:
    """Changes when the configuration or a file of the version, or a label file, changes; the same
    on every machine with the same files. Reads them all: blocks for about a second per gigabyte.
    """
    digest = hashlib.blake2b(digest_size=32)
    digest.update(config.SerializeToString(deterministic=True))
    for path in sorted(_files(config, version, model_directory)):
        name = os.fsencode(path.relative_to(model_directory))
        digest.update(len(name).to_bytes(8, "little") + name)
        digest.update(_file_digest(path))
    return digest.hexdigest()


def _files(config: ModelConfig, version: int, model_directory: Path) -> list[Path]:
    inside = (model_directory / str(version)).rglob("*")
    labels = {tensor.label_filename for tensor in config.output if tensor.label_filename}
    files = [*inside, *(model_directory / name for name in labels)]
    # Once each, whatever a configuration names twice.
    return [path for path in dict.fromkeys(files) if path.is_file()]


def _file_digest(path: Path) -> bytes:
    digest = hashlib.blake2b(digest_size=32)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.digest()
