"""The command line: parsing, `--help`, docs/flags.md and every error text, all made from the table
in options.py.

Forms as Triton's: --flag=value and --flag value; a bool is true/on/1 or false/off/0.
"""

import sys
from collections.abc import Callable, Iterable
from dataclasses import Field, fields
from functools import lru_cache
from typing import Any

from fastserve.flags import FlagSpec, check_value, default_of
from fastserve.host_policy import host_policies, host_policy_warnings
from fastserve.metrics_config import metrics_settings, metrics_warnings
from fastserve.options import Options
from fastserve.response_cache import cache_settings, cache_warnings

USAGE = "Usage: python -m fastserve --model-repository DIR [flags]"


class BadOptionError(Exception):
    """The command line cannot be used; str() is what to print."""


def _bad(flag: str, reason: str) -> BadOptionError:
    return BadOptionError(f'Bad option: "--{flag}".\n{reason}')


@lru_cache(maxsize=1)
def flag_fields() -> dict[str, "Field[Any]"]:
    """Every flag name, aliases included, to the field it sets."""
    table = {}
    for item in fields(Options):
        if "flag" in item.metadata:
            for name in (item.name.replace("_", "-"), *item.metadata["flag"].aliases):
                table[name] = item
    return table


def _parse_bool(text: str) -> bool:
    lowered = text.lower()
    if lowered in ("true", "on", "1"):
        return True
    if lowered in ("false", "off", "0"):
        return False
    raise ValueError(f"'{text}' is not a bool; use true or false")


def _parse_int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"'{text}' is not an integer") from None


def _parse_float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"'{text}' is not a number") from None


def _parse_verbosity(text: str) -> int:
    """--log-verbose takes a level or a bool."""
    try:
        return int(text)
    except ValueError:
        return int(_parse_bool(text))


def _converter(item: "Field[Any]") -> Callable[[str], Any]:
    if item.name == "log_verbose":
        return _parse_verbosity
    by_type: dict[Any, Callable[[str], Any]] = {
        bool: _parse_bool,
        int: _parse_int,
        float: _parse_float,
    }
    return by_type.get(item.type, str)


def _apply(options: Options, flag: str, text: str | None) -> None:
    """Sets the flag's field. BadOptionError says what is wrong with the value."""
    item = flag_fields()[flag]
    spec: FlagSpec = item.metadata["flag"]
    try:
        if spec.no_argument:
            if text is not None:
                raise ValueError("it takes no value")
            setattr(options, item.name, True)
            return
        assert text is not None
        value = _converter(item)(text)
        if text == "OFF" and item.name == "trace_level":
            return
        check_value(item, value)
    except ValueError as error:
        raise _bad(flag, str(error)) from None
    if isinstance(getattr(options, item.name), list):
        getattr(options, item.name).append(value)
    else:
        setattr(options, item.name, value)
    if spec.no_effect and value != default_of(item):
        options.warnings.append(f"--{flag} has no effect: {spec.no_effect}")


def _unknown(flag: str) -> BadOptionError:
    import difflib  # only a mistake needs it

    near = difflib.get_close_matches(flag, flag_fields(), n=1, cutoff=0.5)
    hint = f"Did you mean --{near[0]}?" if near else "See --help for all flags."
    return _bad(flag, f"Unknown flag. {hint}")


def parse(arguments: Iterable[str]) -> Options:
    """The options that the arguments ask for. Errors: BadOptionError, with the text to print."""
    options = Options()
    rest = iter(arguments)
    for argument in rest:
        if not argument.startswith("--") or argument == "--":
            raise BadOptionError(f"Unexpected argument: {argument}\n{USAGE}")
        flag, separator, text = argument[2:].partition("=")
        if flag not in flag_fields():
            raise _unknown(flag)
        value: str | None = text if separator else None
        if value is None and not flag_fields()[flag].metadata["flag"].no_argument:
            value = next(rest, None)
            if value is None:
                raise _bad(flag, "It needs a value.")
        _apply(options, flag, value)
    _check_combinations(options)
    return options


def _check_combinations(options: Options) -> None:
    if not options.model_repository:
        raise BadOptionError("Error: --model-repository must be specified\n" + USAGE)
    if options.load_model and options.model_control_mode != "explicit":
        raise BadOptionError(
            "Error: Use of '--load-model' requires setting '--model-control-mode=explicit' as well."
        )
    if "*" in options.load_model and len(options.load_model) > 1:
        raise BadOptionError(
            "Error: Wildcard model name '*' must be the ONLY startup model if specified at all."
        )
    _check_metrics_config(options)
    _check_backend_config(options)
    _check_cache_config(options)
    _check_host_policies(options)
    _check_ports(options)


def _check_metrics_config(options: Options) -> None:
    try:
        metrics_settings(options)
    except ValueError as error:
        raise _bad("metrics-config", str(error)) from None
    options.warnings += metrics_warnings(options)


def _check_host_policies(options: Options) -> None:
    try:
        host_policies(options)
    except ValueError as error:
        raise _bad("host-policy", str(error)) from None
    options.warnings += host_policy_warnings(options)


def _check_backend_config(options: Options) -> None:
    for setting in options.backend_config:
        left, separator, value = setting.partition("=")
        if not separator:
            raise _bad("backend-config", f"'{setting}' is not [<backend>,]<key>=<value>")
        if left.rpartition(",")[2] == "default-max-batch-size" and not value.isdigit():
            raise _bad("backend-config", f"default-max-batch-size must be a number, not '{value}'")


def _check_cache_config(options: Options) -> None:
    try:
        cache_settings(options)
    except ValueError as error:
        raise _bad("cache-config", str(error)) from None
    options.warnings += cache_warnings(options)


def _check_ports(options: Options) -> None:
    services = [
        ("http", options.allow_http, options.http_address, options.http_port),
        ("grpc", options.allow_grpc, options.grpc_address, options.grpc_port),
        ("metrics", options.allow_metrics, options.metrics_listen_address, options.metrics_port),
    ]
    seen: dict[int, tuple[str, str]] = {}
    for name, allowed, address, port in services:
        if not allowed or port == 0:
            continue
        if port in seen:
            other, other_address = seen[port]
            if "0.0.0.0" in (address, other_address) or address == other_address:
                raise _bad(
                    f"{name}-port",
                    f"Port {port} is used by --{other}-port as well; give each service its own.",
                )
        seen[port] = (name, address)


def _type_text(item: "Field[Any]") -> str:
    spec: FlagSpec = item.metadata["flag"]
    if spec.no_argument:
        return ""
    if spec.choices:
        return "|".join(spec.choices)
    if spec.metavar:
        return spec.metavar
    names: dict[Any, str] = {bool: "bool", int: "int", float: "float"}
    return names.get(item.type, "str")


def _default_text(item: "Field[Any]") -> str:
    default = default_of(item)
    if isinstance(default, bool):
        return "true" if default else "false"
    return "" if default == [] else str(default)


def _note(spec: FlagSpec) -> str:
    if spec.unsupported:
        return f" Refused: {spec.unsupported}."
    if spec.unsupported_values:
        return "".join(
            f" {value} is refused: {why}." for value, why in spec.unsupported_values.items()
        )
    return f" No effect: {spec.no_effect}." if spec.no_effect else ""


def _sections() -> dict[str, list["Field[Any]"]]:
    sections: dict[str, list[Field[Any]]] = {}
    for item in fields(Options):
        if "flag" in item.metadata:
            sections.setdefault(item.metadata["flag"].section, []).append(item)
    return sections


def help_text() -> str:
    """What --help prints."""
    lines = [USAGE, "       python -m fastserve perf --help", ""]
    for section, items in _sections().items():
        lines.append(f"{section}:")
        for item in items:
            spec: FlagSpec = item.metadata["flag"]
            kind = _type_text(item)
            value = f" <{kind.strip('<>') if kind.count('<') < 2 else kind}>" if kind else ""
            default = _default_text(item)
            lines.append(
                f"  --{item.name.replace('_', '-')}{value}" + (f" = {default}" if default else "")
            )
            lines.append(f"        {spec.help}{_note(spec)}")
        lines.append("")
    return "\n".join(lines)


def docs_page() -> str:
    """docs/flags.md."""
    lines = [
        "# Flags",
        "",
        "Made by `python -m fastserve.cli` from the table in `python/fastserve/options.py`.",
        "Names and defaults are Triton's.",
        "",
    ]
    for section, items in _sections().items():
        lines += [f"## {section}", "", "| flag | type | default | meaning |", "|---|---|---|---|"]
        for item in items:
            spec: FlagSpec = item.metadata["flag"]
            kind = _type_text(item).replace("|", "\\|")
            aliases = "".join(f", `--{alias}`" for alias in spec.aliases)
            meaning = (spec.help + _note(spec)).replace("|", "\\|")
            default = _default_text(item)
            cells = [
                f"`--{item.name.replace('_', '-')}`{aliases}",
                kind,
                f"`{default}`" if default else "",
                meaning,
            ]
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Runs the server, or the sub-command `perf`; returns the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == ["perf"]:
        from fastserve.tools import perf

        return int(perf.main(words[1:]))
    if "--help" in words:
        print(help_text())
        return 0
    try:
        options = parse(words)
    except BadOptionError as error:
        print(error, file=sys.stderr)
        return 1
    from fastserve import server

    return server.run(options)


if __name__ == "__main__":
    print(docs_page(), end="")
