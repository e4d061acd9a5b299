"""What the table in options.py is made of: the description of one flag, and the check of its
value.
"""

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class FlagSpec:
    """What the table says of one flag besides its name, type and default."""

    section: str
    help: str
    no_effect: str = ""  # accepted with a WARNING that gives this reason
    unsupported: str = ""  # any value but the default is refused with this reason
    unsupported_values: Mapping[str, str] = field(default_factory=dict)
    choices: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    aliases: tuple[str, ...] = ()
    no_argument: bool = False
    deprecated: bool = False
    metavar: str = ""


def flag(default: Any, section: str, text: str, **details: Any) -> Any:
    spec = FlagSpec(section, text, **details)
    if isinstance(default, list):
        return field(default_factory=list, metadata={"flag": spec})
    return field(default=default, metadata={"flag": spec})


def default_of(item: "Field[Any]") -> Any:
    """The default of a field of Options."""
    return [] if item.default is MISSING else item.default


def check_value(item: "Field[Any]", value: Any) -> None:
    """ValueError, with the reason, for a value that is out of range or not offered yet."""
    spec: FlagSpec = item.metadata["flag"]
    if spec.choices and value not in spec.choices:
        raise ValueError(f"'{value}' is not one of {', '.join(spec.choices)}")
    _check_range(spec, value)
    reason = spec.unsupported if value != default_of(item) else ""
    if isinstance(value, str):
        reason = spec.unsupported_values.get(value, reason)
    if reason:
        raise ValueError(f"Unsupported: {reason}")


def _check_range(spec: FlagSpec, value: Any) -> None:
    if spec.minimum is not None and value < spec.minimum:
        raise ValueError(f"{value} is too small; at least {spec.minimum} is needed")
    if spec.maximum is not None and value > spec.maximum:
        raise ValueError(f"{value} is too large; at most {spec.maximum} is allowed")
