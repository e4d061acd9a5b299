"""The messages of the administrative calls, in the private pool of fastserve.config.schema."""

from pathlib import Path
from typing import Any

from fastserve.config import schema

schema.load_pool()  # grpc_service.proto imports model_config.proto
schema.add_descriptor_set(Path(__file__).with_name("grpc_service.desc"))


def message_class(name: str) -> Any:
    """The class of a message of grpc_service.proto, e.g. "ModelConfigResponse"."""
    return schema.message_class(f"inference.{name}")
