"""`python -m fastserve perf`: asks for the model, makes requests, measures every level, reports."""

import sys
from collections.abc import Sequence

from fastserve import _core
from fastserve.tools.perf import endpoint, report
from fastserve.tools.perf.arguments import parse
from fastserve.tools.perf.failure import PerfError
from fastserve.tools.perf.input_data import make_requests
from fastserve.tools.perf.load import load_options, serialise, target_of
from fastserve.tools.perf.measurement import Level, LevelMeasurement
from fastserve.tools.perf.model import ServerTimes, Target
from fastserve.tools.perf.progress import ProgressLine
from fastserve.tools.perf.settings import Settings

MEASURED, FAILED, DOUBTFUL, INTERRUPTED = 0, 1, 2, 130


class Run:
    """One run over all levels; keeps what was measured when a level fails or Ctrl-C comes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._progress = ProgressLine(settings.verbose)
        self.levels: list[Level] = []

    def measure(self) -> None:
        """Raises PerfError when the load cannot be made or the server goes away."""
        settings = self._settings
        target = target_of(settings)
        asked = endpoint.connect(target)
        model = asked.model(settings.model_name, settings.model_version)
        messages = serialise(settings, target, model, make_requests(model, settings.data))
        for value in settings.levels.values:
            level = self._measure_level(asked, target, messages, value)
            if level.windows > 0:
                self.levels.append(level)
            if level.interrupted:
                raise KeyboardInterrupt
            if level.failure is not None:
                raise PerfError(level.failure)
            if self._too_slow(level):
                break

    def _measure_level(
        self, asked: endpoint.Endpoint, target: Target, messages: list[bytes], value: float
    ) -> Level:
        settings = self._settings
        try:
            generator = _core.LoadGenerator.start(load_options(settings, target, messages, value))
        except _core.FastserveError as error:
            raise PerfError(str(error)) from error
        label = f"{settings.levels.kind} {value:g}"
        measurement = LevelMeasurement(
            generator,
            settings.measuring,
            lambda: _times(asked, settings),
            lambda begin, now: self._progress.update(label, begin, now),
        )
        try:
            return measurement.run(settings.levels.kind, value, settings.data.batch_size)
        finally:
            self._progress.clear()

    def _too_slow(self, level: Level) -> bool:
        limit = self._settings.measuring.latency_threshold_ms
        percentile = self._settings.measuring.percentile
        return limit is not None and level.latency_us(percentile) > limit * 1000


def _times(asked: endpoint.Endpoint, settings: Settings) -> ServerTimes | None:
    """The server's statistics; a server that cannot be asked now is noticed by the load."""
    try:
        return asked.times(settings.model_name, settings.model_version)
    except PerfError:
        return None


def _write(settings: Settings, levels: list[Level]) -> None:
    print(report.table(levels))
    for level in levels:
        line = report.server_line(level)
        if line is not None and settings.verbose:
            print(f"{settings.levels.kind} {level.value:g}\n{line}")
    errors = report.error_lines(levels)
    if errors:
        print("failures:")
        print("\n".join(errors))
    if settings.csv_file and levels:
        report.write_csv(settings.csv_file, levels)
    if settings.json_file:
        report.write_json(settings.json_file, settings, levels)


def _measure(run: Run) -> int:
    """Measures and says why it stopped early; the exit status so far."""
    try:
        run.measure()
    except PerfError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("interrupted; this is what was measured", file=sys.stderr)
        return INTERRUPTED
    doubtful = any(not level.stable or level.window.failed for level in run.levels)
    return DOUBTFUL if doubtful else MEASURED


def main(words: Sequence[str] | None = None) -> int:
    """The sub-command; returns the exit status."""
    settings = parse(sys.argv[1:] if words is None else words)
    run = Run(settings)
    status = _measure(run)
    if run.levels or status != FAILED:
        try:
            _write(settings, run.levels)
        except OSError as error:
            print(f"error: cannot write {error.filename}: {error.strerror}", file=sys.stderr)
            return FAILED
    return status
