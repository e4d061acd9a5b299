"""config.pbtxt (protobuf text format) -> ModelConfig, and ModelConfig -> the JSON that /config
answers.
"""

from pathlib import Path
from typing import Any

from google.protobuf import text_format

from fastserve.config.schema import message_class
from fastserve.errors import InvalidArgumentError

# A ModelConfig message of the private pool; its class is made at run time, so it has no static
# type.
ModelConfig = Any


def new_config() -> ModelConfig:
    """An empty ModelConfig."""
    return message_class("inference.ModelConfig")()


def parse_config(text: str, source: str) -> ModelConfig:
    """Parses text format. `source` names the file in errors: "source:line:column: reason"."""
    config = new_config()
    try:
        text_format.Parse(text, config)
    except text_format.ParseError as error:
        # The message of a ParseError begins with "line:column : ".
        place, separator, reason = str(error).partition(" : ")
        where = f"{source}:{place}: {reason}" if separator else f"{source}: {error}"
        raise InvalidArgumentError(f"cannot parse the model configuration {where}") from None
    return config


def read_config(path: Path) -> ModelConfig:
    """Parses a file. InvalidArgumentError when it cannot be read or parsed."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgumentError(f"cannot read the model configuration {path}: {error}") from None
    return parse_config(text, str(path))


def config_to_dict(message: Any) -> dict[str, Any]:
    """A message as JSON-able values, as Triton prints it.

    Protobuf field names, fields with their default value included, unset messages left out, enums
    by name, and 64-bit integers as numbers.
    """
    result: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if _is_map(field):
            converter = field.message_type.fields_by_name["value"]
            result[field.name] = {
                str(key): _to_json(converter, value[key]) for key in sorted(value)
            }
        elif _is_repeated(field):
            result[field.name] = [_to_json(field, item) for item in value]
        elif field.has_presence:
            if message.HasField(field.name):
                result[field.name] = _to_json(field, value)
        else:
            result[field.name] = _to_json(field, value)
    return result


def _is_repeated(field: Any) -> bool:
    repeated = getattr(field, "is_repeated", None)  # protobuf >= 6; `label` warns there
    return field.label == field.LABEL_REPEATED if repeated is None else bool(repeated)


def _is_map(field: Any) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _to_json(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return config_to_dict(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known is not None else value
    return value
