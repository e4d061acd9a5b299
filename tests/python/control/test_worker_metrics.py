"""Metrics that models make: shared by name and labels, bounded, and valid on the metrics page."""

import re
from pathlib import Path

import prometheus_client
import pytest
from fastserve.control import worker_metrics
from fastserve.control.server_families import FAMILIES
from fastserve.control.worker_metrics import WorkerMetrics
from fastserve.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).resolve().parents[3]


class Worker:
    """One worker's view of the metrics."""

    def __init__(self, metrics: WorkerMetrics, worker: int = 1) -> None:
        self.metrics, self.worker, self.number = metrics, worker, 0

    def family(self, name: str, kind: str = "counter", description: str = "words") -> int:
        self.number += 1
        args = {"family": self.number, "name": name, "description": description, "kind": kind}
        self.metrics.call(self.worker, "metric_family", args)
        return self.number

    def metric(self, family: int, buckets=None, **labels: str) -> int:
        self.number += 1
        args = {"family": family, "metric": self.number, "labels": labels, "buckets": buckets}
        self.metrics.call(self.worker, "metric", args)
        return self.number

    def change(self, operation: str, metric: int, value: float) -> None:
        args = {"metric": metric, "value": value}
        self.metrics.call(self.worker, f"metric_{operation}", args)

    def value(self, metric: int) -> float:
        return self.metrics.call(self.worker, "metric_value", {"metric": metric})

    def delete(self, metric: int) -> None:
        self.metrics.call(self.worker, "metric_delete", {"metric": metric})


def samples(metrics: WorkerMetrics) -> dict[tuple[str, str], float]:
    return {
        (sample.name, str(sample.labels)): sample.value
        for family in text_string_to_metric_families(metrics.text())
        for sample in family.samples
    }


@pytest.fixture
def metrics():
    return WorkerMetrics()


def test_half_a_surrogate_pair_does_not_break_the_page(metrics):
    worker = Worker(metrics)
    family = worker.family("requests", description="half \ud800")
    worker.metric(family, user="\udcff a")
    worker.metric(family, user="\udcff a")
    page = metrics.text().encode()
    assert b"# HELP requests half \\\\ud800\n" in page
    assert page.count(b'requests{user="\\\\udcff a"} 0\n') == 1


def test_counters_and_gauges_are_on_the_page_under_their_names(metrics):
    worker = Worker(metrics)
    requests = worker.metric(worker.family("requests"), kind="a")
    queue = worker.metric(worker.family("queue", "gauge"))
    worker.change("increment", requests, 2.5)
    worker.change("set", queue, 7)
    worker.change("increment", queue, -3)
    assert 'requests{kind="a"} 2.5\n' in metrics.text()
    assert "# TYPE requests counter\n" in metrics.text()
    assert "queue 4\n" in metrics.text()
    assert worker.value(queue) == 4


def test_a_histogram_counts_by_bucket(metrics):
    worker = Worker(metrics)
    latency = worker.metric(worker.family("latency", "histogram"), [1, 2.5])
    for value in (0.5, 1, 2, 100):
        worker.change("observe", latency, value)
    assert samples(metrics) == {
        ("latency_bucket", "{'le': '1'}"): 2,
        ("latency_bucket", "{'le': '2.5'}"): 3,
        ("latency_bucket", "{'le': '+Inf'}"): 4,
        ("latency_sum", "{}"): 103.5,
        ("latency_count", "{}"): 4,
    }


def test_hostile_labels_and_descriptions_stay_in_their_place(metrics):
    worker = Worker(metrics)
    text = 'a"b\\c\nd 1'
    worker.metric(worker.family("m", description=text), label=text)
    (family,) = text_string_to_metric_families(metrics.text())
    (sample,) = family.samples
    assert sample.labels == {"label": text}


def test_workers_share_a_metric(metrics):
    first, second = Worker(metrics, 1), Worker(metrics, 2)
    mine, theirs = (worker.metric(worker.family("m"), a="b") for worker in (first, second))
    first.change("increment", mine, 1)
    second.change("increment", theirs, 2)
    assert first.value(mine) == second.value(theirs) == 3
    first.delete(mine)
    assert second.value(theirs) == 3
    second.delete(theirs)
    assert metrics.text() == ""


def test_a_counter_goes_on_after_its_worker_died(metrics):
    first = Worker(metrics, 1)
    first.change("increment", first.metric(first.family("m")), 5)
    metrics.forget(1)
    second = Worker(metrics, 2)
    assert second.value(second.metric(second.family("m"))) == 5


def test_one_worker_cannot_reach_what_another_has(metrics):
    first, second = Worker(metrics, 1), Worker(metrics, 2)
    mine = first.metric(first.family("m"))
    with pytest.raises(NotFoundError):
        second.value(mine)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("", "counter"), ("1a", "gauge"), ("a b", "gauge"), ("a", "summary")],
)
def test_wrong_families_are_refused(metrics, name, kind):
    with pytest.raises(InvalidArgumentError):
        Worker(metrics).family(name, kind)


@pytest.mark.parametrize(
    ("name", "kind", "taken"),
    [
        ("nv_inference_count", "counter", "nv_inference_count"),
        ("nv_inference", "histogram", "nv_inference_count"),
        ("nv_inference_request_summary_us_sum", "gauge", "nv_inference_request_summary_us_sum"),
        ("process_open_fds", "gauge", "process_open_fds"),
    ],
)
def test_the_names_of_the_server_are_not_a_models(metrics, name, kind, taken):
    with pytest.raises(InvalidArgumentError, match=f"'{taken}' is the server's own"):
        Worker(metrics).family(name, kind)


@pytest.mark.parametrize("name", ["nv_mine", "nv_inference", "process_items", "python_calls"])
def test_a_name_that_no_family_of_the_server_has_is_free(metrics, name):
    worker = Worker(metrics)
    worker.metric(worker.family(name))
    assert f"{name} 0\n" in metrics.text()


def test_every_family_of_the_server_is_known():
    registry = prometheus_client.CollectorRegistry()
    prometheus_client.ProcessCollector(registry=registry)
    names = {
        line.split()[2]
        for line in prometheus_client.generate_latest(registry).decode().splitlines()
        if line.startswith("# TYPE")
    }
    for source in ("csrc/engine/metrics_text.cc", "python/fastserve/metrics.py"):
        names |= set(re.findall(r'"(nv_[a-z_]+)"', (ROOT / source).read_text()))
    assert len(names) > 30
    assert names == FAMILIES


def test_one_name_has_one_kind(metrics):
    Worker(metrics, 1).family("m", "counter")
    with pytest.raises(AlreadyExistsError, match="exists already, as a counter"):
        Worker(metrics, 2).family("m", "gauge")


@pytest.mark.parametrize("labels", [{"__a": "b"}, {"a-b": "c"}, {"": "c"}, {"le": "1"}])
def test_wrong_labels_are_refused(metrics, labels):
    worker = Worker(metrics)
    with pytest.raises(InvalidArgumentError, match="cannot be a label"):
        worker.metric(worker.family("m", "histogram"), [1], **labels)


@pytest.mark.parametrize("buckets", [[2, 1], [1, 1], [float("inf")], [float("nan")]])
def test_wrong_buckets_are_refused(metrics, buckets):
    worker = Worker(metrics)
    with pytest.raises(InvalidArgumentError, match="finite and ascending"):
        worker.metric(worker.family("m", "histogram"), buckets)


def test_a_counter_never_falls(metrics):
    worker = Worker(metrics)
    metric = worker.metric(worker.family("m"))
    for value in (-1, float("nan")):
        with pytest.raises(InvalidArgumentError):
            worker.change("increment", metric, value)


def test_metrics_are_bounded_and_make_room_for_others(metrics, monkeypatch):
    monkeypatch.setattr(worker_metrics, "MAX_METRICS", 10)
    worker = Worker(metrics, 1)
    family = worker.family("m")
    for number in range(9):
        worker.metric(family, number=str(number))
    with pytest.raises(InvalidArgumentError, match="have made 10 metrics"):
        worker.metric(family, number="9")
    metrics.forget(1)
    other = Worker(metrics, 2)
    other.metric(other.family("n"))
    assert "\nn 0\n" in metrics.text()
    assert "m{" not in metrics.text()


def test_unknown_calls_are_refused(metrics):
    with pytest.raises(InvalidArgumentError, match="unknown call 'format_disk'"):
        metrics.call(1, "format_disk", {})
