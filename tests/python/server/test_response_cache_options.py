"""--cache-config and --response-cache-byte-size: what they mean, and what is said of mistakes."""

import pytest
from fastserve.cli import BadOptionError, parse
from fastserve.response_cache import (
    CacheSettings,
    LocalCacheSettings,
    RedisCacheSettings,
    cache_settings,
    core_cache_options,
)

REDIS = ["redis,host=h", "redis,port=6379"]


def settings(*texts: str) -> CacheSettings | None:
    return cache_settings(parse(["--model-repository=r", *(f"--cache-config={t}" for t in texts)]))


def test_without_a_flag_there_is_no_cache():
    assert settings() is None
    assert core_cache_options(None) == {}


def test_local_cache_has_a_size():
    assert settings("local,size=1048576") == LocalCacheSettings(1048576)
    assert core_cache_options(LocalCacheSettings(5)) == {"kind": "local", "size": 5}


def test_last_value_of_a_key_counts():
    assert settings("local,size=1", "local,size=2") == LocalCacheSettings(2)


def test_redis_cache_takes_tritons_settings(monkeypatch):
    monkeypatch.delenv("TRITONCACHE_REDIS_PASSWORD", raising=False)
    monkeypatch.delenv("TRITONCACHE_REDIS_USERNAME", raising=False)
    assert settings(*REDIS) == RedisCacheSettings("h", 6379)
    more = ["user=u", "password=p=,q", "db=2", "connect_timeout=7", "socket_timeout=9"]
    expected = RedisCacheSettings("h", 6379, "u", "p=,q", 2, 7, 9)
    assert settings(*REDIS, *(f"redis,{setting}" for setting in more)) == expected


def test_password_may_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("TRITONCACHE_REDIS_PASSWORD", "secret")
    monkeypatch.setenv("TRITONCACHE_REDIS_USERNAME", "worker")
    found = settings(*REDIS)
    assert isinstance(found, RedisCacheSettings)
    assert (found.user, found.password) == ("worker", "secret")


def test_settings_without_a_meaning_here_are_accepted_with_a_warning():
    options = parse(
        ["--model-repository=r", *(f"--cache-config={t}" for t in [*REDIS, "redis,pool_size=4"])]
    )
    assert any("pool_size" in warning for warning in options.warnings)


def test_old_flag_is_a_local_cache_with_a_warning():
    options = parse(["--model-repository=r", "--response-cache-byte-size=1024"])
    assert cache_settings(options) == LocalCacheSettings(1024)
    assert any("--cache-config=local,size=1024" in warning for warning in options.warnings)


@pytest.mark.parametrize("size", [2**63, 2**64, 2**70])
def test_old_flag_has_the_range_of_the_new_one(size):
    with pytest.raises(BadOptionError, match=f"byte-size is '{size}', expected .* to {2**63 - 1}"):
        parse(["--model-repository=r", f"--response-cache-byte-size={size}"])


def test_old_flag_of_zero_is_no_cache():
    assert cache_settings(parse(["--model-repository=r", "--response-cache-byte-size=0"])) is None


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["local"], "<name>,<key>=<value>"),
        (["local,size"], "<name>,<key>=<value>"),
        ([",size=1"], "<name>,<key>=<value>"),
        (["disk,size=1"], "there is no cache 'disk'; the caches are local and redis"),
        (["local,size=0"], "size is '0', expected a whole number from 1"),
        (["local,size=-1"], "size is '-1'"),
        (["local,size=1e6"], "size is '1e6'"),
        (["local,size=9223372036854775808"], "from 1 to 9223372036854775807"),
        (["local,bytes=1"], "no setting 'bytes'; it has size"),
        (["local,size=1", *REDIS], "one cache at a time"),
        (["redis,host=h"], "needs its port"),
        (["redis,port=1"], "needs its host"),
        (["redis,host=h", "redis,port=65536"], "port is '65536'"),
        ([*REDIS, "redis,db=-1"], "db is '-1'"),
        ([*REDIS, "redis,tls_enabled=true"], "TLS to Redis is not offered yet"),
        ([*REDIS, "redis,hots=h"], "no setting 'hots'"),
    ],
)
def test_mistakes_are_told_with_what_to_write(flags, text):
    with pytest.raises(BadOptionError) as error:
        settings(*flags)
    assert str(error.value).startswith('Bad option: "--cache-config".')
    assert text in str(error.value)


def test_both_flags_together_are_refused():
    flags = ["--cache-config=local,size=1", "--response-cache-byte-size=5"]
    with pytest.raises(BadOptionError, match="write only --cache-config=local,size=5"):
        parse(["--model-repository=r", *flags])


def test_a_password_is_not_repeated_in_an_error():
    with pytest.raises(BadOptionError) as error:
        settings("redis;password=secret")
    assert "secret" not in str(error.value)
