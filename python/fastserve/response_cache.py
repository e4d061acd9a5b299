"""--cache-config and --response-cache-byte-size -> the settings of the response cache."""

import os
from dataclasses import asdict, dataclass
from typing import Any

from fastserve.options import Options

_PASSWORD_VARIABLE = "TRITONCACHE_REDIS_PASSWORD"
_USER_VARIABLE = "TRITONCACHE_REDIS_USERNAME"
_MOST_BYTES = 2**63 - 1
_MOST_MS = 3_600_000


@dataclass(frozen=True)
class LocalCacheSettings:
    """In the server's own memory."""

    size: int  # bytes
    kind: str = "local"


@dataclass(frozen=True)
class RedisCacheSettings:
    """In a Redis server that several servers may share. Times in milliseconds."""

    host: str
    port: int
    user: str = ""
    password: str = ""
    db: int = 0
    connect_timeout: int = 1000
    socket_timeout: int = 100  # the deadline of a lookup and of an insertion
    kind: str = "redis"


CacheSettings = LocalCacheSettings | RedisCacheSettings

# Settings of Triton's Redis cache that have no effect here, with the reason.
_WITHOUT_EFFECT = {
    "pool_size": "one pipelined connection carries all requests",
    "wait_timeout": "no request waits for a connection",
}


def cache_settings(options: Options) -> CacheSettings | None:
    """What the flags ask for; None when they ask for no cache.

    ValueError says what is wrong and what to write.
    """
    if options.cache_config and options.response_cache_byte_size:
        raise ValueError(
            "--cache-config and --response-cache-byte-size are both given; write only "
            f"--cache-config=local,size={options.response_cache_byte_size}"
        )
    if options.response_cache_byte_size:
        size = {"response-cache-byte-size": str(options.response_cache_byte_size)}
        return LocalCacheSettings(_number(size, "response-cache-byte-size", 1, _MOST_BYTES))
    if not options.cache_config:
        return None
    name, values = _split(options.cache_config)
    return _local(values) if name == "local" else _redis(values)


def cache_warnings(options: Options) -> list[str]:
    """What to log about flags that are accepted without an effect, or that are old."""
    warnings = []
    if options.response_cache_byte_size:
        warnings.append(
            "--response-cache-byte-size is deprecated; write "
            f"--cache-config=local,size={options.response_cache_byte_size}"
        )
    for setting in options.cache_config:
        key = setting.partition(",")[2].partition("=")[0]
        if key in _WITHOUT_EFFECT:
            warnings.append(f"--cache-config={setting} has no effect: {_WITHOUT_EFFECT[key]}")
    return warnings


def core_cache_options(settings: CacheSettings | None) -> dict[str, Any]:
    """The dict that the core's engine takes; empty for no cache."""
    return asdict(settings) if settings else {}


def _split(texts: list[str]) -> tuple[str, dict[str, str]]:
    """The one cache that all settings name, and its settings; the last of a key counts."""
    names: dict[str, None] = {}
    values: dict[str, str] = {}
    for text in texts:
        name, comma, setting = text.partition(",")
        key, equals, value = setting.partition("=")
        if not (name and comma and key and equals):
            # The text is not repeated: it may hold a password.
            raise ValueError(
                "a setting has the form <name>,<key>=<value>, for example local,size=1048576"
            )
        if name not in ("local", "redis"):
            raise ValueError(f"there is no cache '{name}'; the caches are local and redis")
        names[name] = None
        values[key] = value
    if len(names) > 1:
        raise ValueError("there is one cache at a time: give settings of local or of redis")
    return next(iter(names)), values


def _local(values: dict[str, str]) -> LocalCacheSettings:
    _refuse_unknown("local", values, {"size"})
    if "size" not in values:
        raise ValueError("the local cache needs its size in bytes; write local,size=1048576")
    return LocalCacheSettings(_number(values, "size", 1, _MOST_BYTES))


def _redis(values: dict[str, str]) -> RedisCacheSettings:
    fields = {"host", "port", "user", "password", "db", "connect_timeout", "socket_timeout"}
    if any(key.startswith("tls_") for key in values):
        raise ValueError("TLS to Redis is not offered yet; remove the settings tls_*")
    _refuse_unknown("redis", values, fields | set(_WITHOUT_EFFECT))
    for key in ("host", "port"):
        if not values.get(key):
            raise ValueError(
                f"the redis cache needs its {key}; write --cache-config=redis,host=HOST "
                "--cache-config=redis,port=6379"
            )
    defaults = {"db": "0", "connect_timeout": "1000", "socket_timeout": "100"}
    merged = {**defaults, **values}
    # The environment keeps the password out of the list of processes.
    return RedisCacheSettings(
        host=values["host"],
        port=_number(merged, "port", 1, 65535),
        user=values.get("user", os.environ.get(_USER_VARIABLE, "")),
        password=values.get("password", os.environ.get(_PASSWORD_VARIABLE, "")),
        db=_number(merged, "db", 0, 2**31 - 1),
        connect_timeout=_milliseconds(merged, "connect_timeout"),
        socket_timeout=_milliseconds(merged, "socket_timeout"),
    )


def _milliseconds(values: dict[str, str], key: str) -> int:
    """Triton's 0 waits for ever; here nothing does, and 0 is the longest time that is allowed."""
    return _number(values, key, 0, _MOST_MS) or _MOST_MS


def _number(values: dict[str, str], key: str, least: int, most: int) -> int:
    text = values[key]
    if not text.isdecimal() or not least <= int(text) <= most:
        raise ValueError(f"{key} is '{text}', expected a whole number from {least} to {most}")
    return int(text)


def _refuse_unknown(name: str, values: dict[str, str], known: set[str]) -> None:
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(
            f"the {name} cache has no setting '{unknown[0]}'; it has {', '.join(sorted(known))}"
        )
