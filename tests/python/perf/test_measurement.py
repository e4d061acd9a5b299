"""Warm-up, windows, the stability check and the progress line, in scripted time: what each second
of load brings is written down, and nothing waits.
"""

import io
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from fastserve.tools.perf import measurement, progress
from fastserve.tools.perf.measurement import Level, LevelMeasurement
from fastserve.tools.perf.progress import ProgressLine
from fastserve.tools.perf.settings import Measuring


class Clock:
    """Stands in for the module `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Snapshot:
    """The counts of the sending threads, as _core.LoadSnapshot; latency is that of the last second,
    p99 ten times the mean."""

    completed: float = 0
    failed: float = 0
    time_s: float = 0
    mean_us: float = 0
    connections: int = 1
    in_flight: int = 0
    overdue: int = 0

    def percentile_us(self, percent: float) -> float:
        return self.mean_us * (10 if percent == 99 else 1)

    def since(self, earlier: "Snapshot") -> "Snapshot":
        return Snapshot(
            self.completed - earlier.completed,
            self.failed - earlier.failed,
            self.time_s - earlier.time_s,
            self.mean_us,
        )

    def add(self, other: "Snapshot") -> None:
        self.completed += other.completed
        self.failed += other.failed
        self.time_s += other.time_s
        self.mean_us = other.mean_us


@dataclass
class Second:
    """What one second of load brings."""

    completed: float
    latency_us: float = 1000
    failed: float = 0
    connections: int = 1


class ScriptedLoad:
    """A load generator whose seconds are written down; the last one lasts."""

    finished = False
    beginning = Snapshot()

    def __init__(self, clock: Clock, seconds: list[Second]) -> None:
        self._clock = clock
        self._begin = clock.now
        self._seconds = seconds
        self.stopped = 0

    def snapshot(self) -> Snapshot:
        elapsed = self._clock.now - self._begin
        made = Snapshot(time_s=elapsed)
        for index in range(int(elapsed + 1e-6) + 1):
            second = self._seconds[min(index, len(self._seconds) - 1)]
            share = min(1.0, elapsed - index)
            made.completed += second.completed * share
            made.failed += second.failed * share
            if share > 1e-6:
                made.mean_us, made.connections = second.latency_us, second.connections
        return made

    def stop(self, grace_s: float) -> None:
        self.stopped += 1

    def errors(self) -> list[tuple[str, int]]:
        return [("HTTP 503: full", 7)]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(measurement, "time", made)
    monkeypatch.setattr(progress, "time", made)
    monkeypatch.setattr(measurement, "_core", SimpleNamespace(LoadSnapshot=Snapshot))
    return made


def run(clock: Clock, seconds: list[Second], measuring: Measuring) -> Level:
    load = ScriptedLoad(clock, seconds)
    level = LevelMeasurement(load, measuring, lambda: None, lambda *_: None).run(
        "concurrency", 1, batch_size=2
    )
    assert load.stopped == 1
    return level


def rates(*values: float) -> list[Second]:
    return [Second(value) for value in values]


NO_WARMUP = Measuring(interval_s=1, warmup_s=0, max_trials=6)


def test_three_windows_alike_are_enough(clock: Clock) -> None:
    level = run(clock, rates(100, 104, 96), NO_WARMUP)
    assert (level.stable, level.windows) == (True, 3)
    assert level.requests_per_second == pytest.approx(100)
    assert level.inferences_per_second == pytest.approx(200)


def test_the_last_three_windows_count(clock: Clock) -> None:
    level = run(clock, rates(10, 500, 200, 200, 200, 999), NO_WARMUP)
    assert (level.stable, level.windows) == (True, 5)
    assert level.requests_per_second == pytest.approx(200)


def test_what_never_settles_ends_with_the_trials_and_is_not_stable(clock: Clock) -> None:
    level = run(clock, rates(100, 200, 100, 200, 100, 200, 100), NO_WARMUP)
    assert (level.stable, level.windows) == (False, 6)
    assert level.requests_per_second == pytest.approx(500 / 3)


@pytest.mark.parametrize(("spread", "stable"), [(9.9, True), (10.1, False)])
def test_the_limit_is_the_distance_from_the_mean(clock: Clock, spread: float, stable: bool) -> None:
    level = run(clock, rates(100 - spread, 100, 100 + spread), Measuring(1, 0, max_trials=3))
    assert level.stable is stable


def test_latency_has_to_settle_as_well(clock: Clock) -> None:
    seconds = [Second(100, latency) for latency in (1000, 2000, 3000, 3100, 3000)]
    level = run(clock, seconds, NO_WARMUP)
    assert (level.stable, level.windows) == (True, 5)
    assert level.latency_us(None) == pytest.approx(3000)
    assert level.latency_us(99) == pytest.approx(30000)


def test_nothing_of_the_warm_up_is_counted(clock: Clock) -> None:
    begin = clock.now
    seconds = rates(9000, 9000, 100)
    level = run(clock, seconds, Measuring(interval_s=1, warmup_s=2, max_trials=6))
    assert (level.stable, level.windows) == (True, 3)
    assert level.requests_per_second == pytest.approx(100)
    assert clock.now - begin == pytest.approx(5)


def test_a_level_beyond_the_latency_threshold_ends_after_one_window(clock: Clock) -> None:
    measuring = Measuring(1, 0, latency_threshold_ms=5)
    assert run(clock, [Second(100, 5001)], measuring).windows == 1
    assert run(clock, [Second(100, 4999)], measuring).windows == 3


def test_the_threshold_is_of_the_percentile_that_is_asked_for(clock: Clock) -> None:
    measuring = Measuring(1, 0, percentile=99, latency_threshold_ms=5)
    assert run(clock, [Second(100, 501)], measuring).windows == 1


def test_a_window_of_nothing_but_failures_ends_the_level(clock: Clock) -> None:
    level = run(clock, [Second(0, failed=5)], NO_WARMUP)
    assert level.failure == "every request failed: 7 x HTTP 503: full"
    assert not level.stable


def test_a_server_that_is_gone_for_three_seconds_ends_the_level(clock: Clock) -> None:
    begin = clock.now
    seconds = [Second(100), Second(0, connections=0), Second(0, connections=0), Second(100)]
    assert run(clock, seconds, NO_WARMUP).failure is None, "it came back"
    begin = clock.now
    level = run(clock, [Second(100), Second(0, connections=0)], NO_WARMUP)
    assert level.failure == "the server is gone: 7 x HTTP 503: full"
    assert clock.now - begin == pytest.approx(4, abs=0.5)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(text: str) -> list[str]:
    """What the line shows after each rewriting; what the last one does not cover stays."""
    line, lines = "", []
    for part in text.split("\r"):
        line = part + line[len(part) :]
        lines.append(line.rstrip())
    return lines


def test_the_line_says_how_it_goes(clock: Clock) -> None:
    terminal = Terminal()
    line = ProgressLine(stream=terminal)
    now = Snapshot(completed=300, failed=2, time_s=3, mean_us=1500, in_flight=4)
    line.update("concurrency 4", Snapshot(completed=100, time_s=1), now)
    assert shown(terminal.getvalue())[-1] == (
        "concurrency 4: 2 s, 100 requests/s, p50 1500 us, p99 15000 us, 4 in flight, 2 failed"
    )
    clock.sleep(1)
    now.overdue = 3
    line.update("concurrency 4", Snapshot(), now)
    assert shown(terminal.getvalue())[-1].endswith("2 failed, 3 overdue")


def test_the_line_is_rewritten_at_most_twice_a_second(clock: Clock) -> None:
    terminal = Terminal()
    line = ProgressLine(stream=terminal)
    for step in range(101):
        line.update("l", Snapshot(), Snapshot(completed=step, time_s=1))
        clock.sleep(0.01)
    assert terminal.getvalue().count("\r") == 2


def test_a_shorter_text_covers_a_longer_one_and_clearing_leaves_nothing(clock: Clock) -> None:
    terminal = Terminal()
    line = ProgressLine(stream=terminal)
    line.update("a long label", Snapshot(), Snapshot(time_s=1))
    clock.sleep(1)
    line.update("short", Snapshot(), Snapshot(time_s=1))
    assert shown(terminal.getvalue())[-1].endswith("0 in flight, 0 failed")
    line.clear()
    assert shown(terminal.getvalue())[-1] == ""


@pytest.mark.parametrize(
    ("verbose", "expected"), [(False, ""), (True, "measuring a\nmeasuring b\n")]
)
def test_a_file_gets_no_line_or_one_for_each_level(
    clock: Clock, verbose: bool, expected: str
) -> None:
    file = io.StringIO()
    line = ProgressLine(verbose, file)
    for label in ("a", "a", "b", "b"):
        line.update(label, Snapshot(), Snapshot(time_s=1))
        clock.sleep(1)
        line.clear()
    assert file.getvalue() == expected
