"""Protobuf messages of our own in a private descriptor pool, so that tritonclient (which registers
the same names in the default pool) lives in the same process.

Other packages add their file:
`schema.add_descriptor_set(Path(__file__).with_name("grpc_service.desc"))`, then
`schema.message_class("inference.ModelConfigResponse")`. The .desc files come from
tools/generate_protos.py. Works with every protobuf runtime from 4.21.
"""

import threading
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_pool = descriptor_pool.DescriptorPool()
_loaded_files: set[Path] = set()
# Every message class, of nested types too. The runtime makes a class when a message of it is first
# reached and drops it with the last one; threads that load models at once would meet half-made ones
# and crash.
_classes: list[Any] = []
_lock = threading.Lock()


def add_descriptor_set(path: Path) -> None:
    """Adds the files of a serialized FileDescriptorSet once. What they import must have been added
    before.
    """
    with _lock:
        if path in _loaded_files:
            return
        files = descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes())
        for file in files.file:
            _pool.AddSerializedFile(file.SerializeToString())
            added = _pool.FindFileByName(file.name)
            for descriptor in added.message_types_by_name.values():
                _keep_classes(descriptor)
        _loaded_files.add(path)


def _keep_classes(descriptor: Any) -> None:
    _classes.append(_make_class(descriptor))
    for nested in descriptor.nested_types:
        _keep_classes(nested)


def _make_class(descriptor: Any) -> Any:
    if hasattr(message_factory, "GetMessageClass"):  # protobuf >= 4.22
        return message_factory.GetMessageClass(descriptor)
    factory: Any = message_factory.MessageFactory(_pool)
    return factory.GetPrototype(descriptor)


def load_pool() -> descriptor_pool.DescriptorPool:
    """The private pool, with model_config.proto in it."""
    add_descriptor_set(Path(__file__).with_name("model_config.desc"))
    return _pool


@cache
def message_class(name: str) -> Any:
    """The class of a message by its full name, e.g. "inference.ModelConfig". KeyError when no file
    declares it.
    """
    return _make_class(load_pool().FindMessageTypeByName(name))
