"""The metrics that the code of Python models makes (`pb_utils.MetricFamily`), for the metrics page.

Written as text here, because prometheus-client would rename the counters.
"""

import math
import re
import threading
from dataclasses import dataclass, field
from typing import Any

from fastserve.control.server_families import clash
from fastserve.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError

MAX_METRICS = 10_000
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_KINDS = ("counter", "gauge", "histogram")

# A worker's own number of a family or metric, behind the worker's.
Number = tuple[int, int]


@dataclass
class _Metric:
    labels: dict[str, str]
    buckets: list[float]  # upper bounds of a histogram, ascending
    references: int = 0
    value: float = 0.0  # a histogram's sum
    counts: list[int] = field(default_factory=list)  # by bucket, then above all

    def text(self, name: str) -> str:
        if not self.counts:
            return f"{name}{_labels(self.labels)} {_number(self.value)}\n"
        lines, total = [], 0
        for bound, count in zip([*self.buckets, math.inf], self.counts, strict=True):
            total += count
            labels = _labels({**self.labels, "le": _number(bound)})
            lines.append(f"{name}_bucket{labels} {total}\n")
        labels = _labels(self.labels)
        lines.append(f"{name}_sum{labels} {_number(self.value)}\n{name}_count{labels} {total}\n")
        return "".join(lines)


@dataclass
class _Family:
    name: str
    description: str
    kind: str
    metrics: dict[tuple[tuple[str, str], ...], _Metric] = field(default_factory=dict)

    def text(self) -> str:
        description = self.description.replace("\\", "\\\\").replace("\n", "\\n")
        head = f"# HELP {self.name} {description}\n# TYPE {self.name} {self.kind}\n"
        return head + "".join(metric.text(self.name) for metric in self.metrics.values())


class WorkerMetrics:
    """Thread safe. Metrics of the same name and labels are one, whichever worker made them; a
    metric goes when each that made it has let go of it. What a worker that died had made stays, for
    the next worker to go on with, until there are MAX_METRICS.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # All guarded by _lock.
        self._families: dict[str, _Family] = {}
        self._family_numbers: dict[Number, _Family] = {}
        self._metric_numbers: dict[Number, tuple[_Family, _Metric]] = {}
        self._count = 0
        self._calls = {
            "metric_family": self._make_family,
            "metric": self._make_metric,
            "metric_increment": self._increment,
            "metric_set": self._set,
            "metric_observe": self._observe,
            "metric_value": self._value,
            "metric_delete": self._delete,
        }

    def call(self, worker: int, method: str, args: dict[str, Any]) -> Any:
        """InvalidArgumentError and the like for what a model did wrong."""
        if method not in self._calls:
            raise InvalidArgumentError(f"unknown call '{method}' of a model's worker")
        with self._lock:
            return self._calls[method](worker, args)

    def forget(self, worker: int) -> None:
        """A worker has ended."""
        with self._lock:
            for number in [number for number in self._family_numbers if number[0] == worker]:
                del self._family_numbers[number]
            for number in [number for number in self._metric_numbers if number[0] == worker]:
                self._metric_numbers.pop(number)[1].references -= 1

    def text(self) -> str:
        """The families in the Prometheus text format; nothing of one without metrics."""
        with self._lock:
            return "".join(f.text() for f in self._families.values() if f.metrics)

    def _make_family(self, worker: int, args: dict[str, Any]) -> None:
        name, kind = str(args["name"]), str(args["kind"])
        if not _NAME.fullmatch(name):
            raise InvalidArgumentError(
                f"'{name}' cannot be the name of a model's metric; it must match {_NAME.pattern}"
            )
        if kind not in _KINDS:
            raise InvalidArgumentError(f"'{kind}' is no kind of metric: {', '.join(_KINDS)}")
        if taken := clash(name, kind):
            raise InvalidArgumentError(
                f"'{name}' cannot be the name of a model's metric: '{taken}' is the server's own"
            )
        family = self._families.get(name)
        if family is None:
            self._check_room()
            family = self._families[name] = _Family(name, _text(args["description"]), kind)
            self._count += 1
        elif family.kind != kind:
            raise AlreadyExistsError(f"the metric '{name}' exists already, as a {family.kind}")
        self._family_numbers[worker, int(args["family"])] = family

    def _make_metric(self, worker: int, args: dict[str, Any]) -> None:
        family = self._family_numbers.get((worker, int(args["family"])))
        if family is None:
            raise NotFoundError("the metric's family does not exist")
        labels = _checked_labels(family, args["labels"])
        buckets = _checked_buckets(family, args.get("buckets") or [])
        key = tuple(sorted(labels.items()))
        metric = family.metrics.get(key)
        if metric is None:
            self._check_room()
            counts = [0] * (len(buckets) + 1) if family.kind == "histogram" else []
            metric = family.metrics[key] = _Metric(labels, buckets, counts=counts)
            self._count += 1
        elif metric.buckets != buckets:
            raise AlreadyExistsError(
                f"the metric '{family.name}' exists already, with buckets {metric.buckets}"
            )
        metric.references += 1
        self._metric_numbers[worker, int(args["metric"])] = family, metric

    def _check_room(self) -> None:
        if self._count >= MAX_METRICS:
            self._drop_unused()
        if self._count >= MAX_METRICS:
            raise InvalidArgumentError(f"models have made {MAX_METRICS} metrics, the limit")

    def _drop_unused(self) -> None:
        in_use = {id(family) for family in self._family_numbers.values()}
        for name, family in list(self._families.items()):
            kept = {key: metric for key, metric in family.metrics.items() if metric.references > 0}
            self._count -= len(family.metrics) - len(kept)
            family.metrics = kept
            if not kept and id(family) not in in_use:
                del self._families[name]
                self._count -= 1

    def _find(self, worker: int, args: dict[str, Any]) -> tuple[_Family, _Metric]:
        found = self._metric_numbers.get((worker, int(args["metric"])))
        if found is None:
            raise NotFoundError("the metric does not exist")
        return found

    def _increment(self, worker: int, args: dict[str, Any]) -> None:
        family, metric = self._find(worker, args)
        value = float(args["value"])
        if family.kind == "counter" and not value >= 0:
            raise InvalidArgumentError(f"the counter '{family.name}' cannot fall by {-value}")
        metric.value += value

    def _set(self, worker: int, args: dict[str, Any]) -> None:
        self._find(worker, args)[1].value = float(args["value"])

    def _observe(self, worker: int, args: dict[str, Any]) -> None:
        metric = self._find(worker, args)[1]
        value = float(args["value"])
        bucket = next((i for i, b in enumerate(metric.buckets) if value <= b), -1)
        metric.counts[bucket] += 1
        metric.value += value

    def _value(self, worker: int, args: dict[str, Any]) -> float:
        return self._find(worker, args)[1].value

    def _delete(self, worker: int, args: dict[str, Any]) -> None:
        found = self._metric_numbers.pop((worker, int(args["metric"])), None)
        if found is None:
            return
        family, metric = found
        metric.references -= 1
        if metric.references == 0:
            family.metrics.pop(tuple(sorted(metric.labels.items())), None)
            self._count -= 1


def _checked_labels(family: _Family, labels: dict[str, Any]) -> dict[str, str]:
    for label in labels:
        if not _LABEL.fullmatch(label) or (family.kind == "histogram" and label == "le"):
            raise InvalidArgumentError(f"'{label}' cannot be a label of metric '{family.name}'")
    return {label: _text(value) for label, value in labels.items()}


def _text(value: Any) -> str:
    """Text that the metrics page can be encoded with: half a surrogate pair becomes its escape."""
    return str(value).encode("utf-8", "backslashreplace").decode()


def _checked_buckets(family: _Family, bounds: list[Any]) -> list[float]:
    buckets = [float(bound) for bound in bounds]
    if buckets != sorted(set(buckets)) or not all(map(math.isfinite, buckets)):
        raise InvalidArgumentError(
            f"the buckets of metric '{family.name}' must be finite and ascending, not {buckets}"
        )
    return buckets


def _labels(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    pairs = (f'{key}="{_escaped(value)}"' for key, value in labels.items())
    return "{" + ",".join(pairs) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
