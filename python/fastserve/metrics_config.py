"""--metrics-config -> the settings of the metrics page."""

from dataclasses import dataclass
from typing import Any

from fastserve.options import Options

_SWITCHES = ("counter_latencies", "histogram_latencies", "summary_latencies")
_QUANTILES = "summary_quantiles"
_MAX_QUANTILES = 64


@dataclass(frozen=True)
class MetricsSettings:
    """Defaults as Triton's."""

    counter_latencies: bool = True
    histogram_latencies: bool = False
    summary_latencies: bool = False
    # Without the errors that the flag gives with them: ranks are exact here.
    summary_quantiles: tuple[float, ...] = (0.5, 0.9, 0.95, 0.99, 0.999)


def metrics_settings(options: Options) -> MetricsSettings:
    """What --metrics-config asks for; the last of a setting counts.

    ValueError says what is wrong and what to write.
    """
    values: dict[str, Any] = {}
    for text in options.metrics_config:
        name, key, value = _split(text)
        parsed = _switch(key, value) if key in _SWITCHES else _quantiles(value)
        if not name:
            values[key] = parsed
    return MetricsSettings(**values)


def metrics_warnings(options: Options) -> list[str]:
    """What to log about settings that name something: Triton reads them and has none either."""
    return [
        f"--metrics-config={text} has no effect: no setting belongs to a name; write "
        f"--metrics-config={text.partition(',')[2]}"
        for text in options.metrics_config
        if _split(text)[0]
    ]


def core_metrics_options(settings: MetricsSettings) -> dict[str, Any]:
    """The dict that the core's engine takes."""
    return {
        "counter_latencies": settings.counter_latencies,
        "histogram_latencies": settings.histogram_latencies,
        "summary_quantiles": list(settings.summary_quantiles) if settings.summary_latencies else [],
    }


def _split(text: str) -> tuple[str, str, str]:
    """<name>,<setting>=<value> or <setting>=<value>."""
    left, equals, value = text.partition("=")
    name, _, key = left.rpartition(",")
    if not (key and equals and value):
        raise ValueError(
            f"'{text}' is not <setting>=<value>; write for example {_SWITCHES[0]}=true"
        )
    if key not in (*_SWITCHES, _QUANTILES):
        raise ValueError(
            f"'{key}' is not a known setting; they are {', '.join((*_SWITCHES, _QUANTILES))}"
        )
    return name, key, value


def _switch(key: str, text: str) -> bool:
    values = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}
    if text.lower() not in values:
        raise ValueError(f"{key} is '{text}', expected true or false")
    return values[text.lower()]


def _quantiles(text: str) -> tuple[float, ...]:
    """0.5:0.05,0.9:0.01 -> (0.5, 0.9)"""
    pairs = text.split(",")
    if len(pairs) > _MAX_QUANTILES:
        raise ValueError(f"{_QUANTILES} has {len(pairs)} quantiles, at most {_MAX_QUANTILES} fit")
    quantiles = set()
    for pair in pairs:
        quantile, colon, error = pair.partition(":")
        if not colon:
            raise ValueError(
                f"{_QUANTILES} has '{pair}', expected <quantile>:<error>; write for example "
                "0.5:0.05,0.9:0.01"
            )
        quantiles.add(_fraction(pair, quantile))
        _fraction(pair, error)
    return tuple(sorted(quantiles))


def _fraction(pair: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ValueError(f"{_QUANTILES} has '{pair}', expected two numbers from 0 to 1")
    return value
