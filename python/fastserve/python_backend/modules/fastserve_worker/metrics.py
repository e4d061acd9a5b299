"""`MetricFamily` and `Metric`: a model's own metrics among the server's."""

from __future__ import annotations

import contextlib
import enum
import itertools
import math
from typing import Dict, Sequence

from . import current
from .errors import TritonModelException

_KINDS = ("counter", "gauge", "histogram")


class MetricKind(enum.IntEnum):
    """What a family's metrics are."""

    COUNTER = 0
    GAUGE = 1
    HISTOGRAM = 2


# This worker's numbers of families and metrics.
_numbers = itertools.count(1)


class Metric:
    """One metric of a family. Thread-safe; changes are sent, and waited for
    now and then. It is removed with
    the last reference.
    """

    def __init__(self, family: MetricFamily, number: int) -> None:
        self._family = family
        self._number = number

    def increment(self, value: float) -> None:
        """Adds to a counter (not less than 0) or a gauge."""
        self._check("increment", (MetricFamily.COUNTER, MetricFamily.GAUGE))
        if self._family.kind == MetricFamily.COUNTER and not value >= 0:
            raise TritonModelException(f"a counter cannot be incremented by {value}")
        self._change("increment", value)

    def set(self, value: float) -> None:
        """Sets a gauge."""
        self._check("set", (MetricFamily.GAUGE,))
        self._change("set", value)

    def observe(self, value: float) -> None:
        """Adds an observation to a histogram."""
        self._check("observe", (MetricFamily.HISTOGRAM,))
        self._change("observe", value)

    def value(self) -> float:
        """What a counter or a gauge is at."""
        self._check("value", (MetricFamily.COUNTER, MetricFamily.GAUGE))
        return float(current.worker().calls.call("metric_value", metric=self._number))

    def _check(self, operation: str, kinds: Sequence[int]) -> None:
        if self._family.kind not in kinds:
            raise TritonModelException(
                f"a {_KINDS[self._family.kind]} has no {operation}() (metric '{self._family.name}')"
            )

    def _change(self, operation: str, value: float) -> None:
        number = float(value)
        if not math.isfinite(number):
            raise TritonModelException(f"metric '{self._family.name}': {number} is not finite")
        current.worker().calls.notify(f"metric_{operation}", metric=self._number, value=number)

    def __del__(self) -> None:
        # In a forked child, or at the end of the process.
        with contextlib.suppress(TritonModelException, OSError, AttributeError):
            current.worker().calls.tell("metric_delete", metric=self._number)


class MetricFamily:
    """A family of metrics that share a name and differ in labels."""

    COUNTER = MetricKind.COUNTER
    GAUGE = MetricKind.GAUGE
    HISTOGRAM = MetricKind.HISTOGRAM

    def __init__(self, name: str, description: str, kind: int) -> None:
        """TritonModelException when the name is another family's with another kind."""
        if kind not in (0, 1, 2):
            raise TritonModelException(f"metric kind {kind} is not COUNTER, GAUGE or HISTOGRAM")
        self.name = name
        self.kind = int(kind)
        self._number = next(_numbers)
        current.worker().calls.call(
            "metric_family",
            family=self._number,
            name=name,
            description=description,
            kind=_KINDS[self.kind],
        )

    def Metric(  # noqa: N802  the name is Triton's
        self, labels: Dict[str, str] | None = None, buckets: Sequence[float] | None = None
    ) -> Metric:
        """The metric with these labels; `buckets`, the upper bounds, for a histogram only."""
        if (self.kind == MetricFamily.HISTOGRAM) != (buckets is not None):
            raise TritonModelException(
                f"metric '{self.name}': buckets are for histograms, which need them"
            )
        number = next(_numbers)
        current.worker().calls.call(
            "metric",
            family=self._number,
            metric=number,
            labels=dict(labels or {}),
            buckets=None if buckets is None else [float(bound) for bound in buckets],
        )
        return Metric(self, number)
