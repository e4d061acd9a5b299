"""What the command line asks for, after parsing."""

from dataclasses import dataclass, field

from fastserve.tools.perf.input_data import DataOptions

# As Triton's clients share one channel between so many callers.
CALLERS_PER_CONNECTION = 6


@dataclass(frozen=True)
class Levels:
    """The loads to measure: numbers of concurrent requests, or request rates."""

    kind: str  # "concurrency" or "request rate"
    values: tuple[float, ...]
    distribution: str = "constant"


@dataclass(frozen=True)
class Measuring:
    """Windows and when they count as stable."""

    interval_s: float = 5.0
    warmup_s: float = 1.0
    max_trials: int = 10
    stability_percent: float = 10.0
    percentile: float | None = None
    request_count: int = 0
    latency_threshold_ms: float | None = None


@dataclass(frozen=True)
class Sending:
    """How the sending threads work."""

    threads: int = 1
    grpc_connections: int | None = None
    max_in_flight: int = 1024
    request_timeout_s: float = 60.0
    seed: int = 1


@dataclass(frozen=True)
class Settings:
    """One run of the load generator."""

    model_name: str
    model_version: str
    protocol: str
    url: str
    headers: tuple[tuple[str, str], ...]
    json_input: bool
    json_output: bool
    levels: Levels
    measuring: Measuring = field(default_factory=Measuring)
    sending: Sending = field(default_factory=Sending)
    data: DataOptions = field(default_factory=DataOptions)
    csv_file: str | None = None
    json_file: str | None = None
    verbose: bool = False
