"""The command line of the load generator; perf_analyzer's spellings where it has the flag."""

import argparse
from collections.abc import Sequence

from fastserve.tools.perf.input_data import DataOptions
from fastserve.tools.perf.settings import Levels, Measuring, Sending, Settings

PROLOGUE = """Puts load on any server that speaks KServe v2 over HTTP or gRPC and reports
throughput and latency. --concurrency-range keeps so many requests in flight (closed loop);
--request-rate-range sends at fixed times whatever the server does (open loop), latency counted
from the intended time."""

EXAMPLES = """examples:
  python -m fastserve perf -m tiny --concurrency-range 1:32:4
  python -m fastserve perf -m tiny -i grpc -u localhost:8001 --request-rate-range 100:1000:100 \\
      --request-distribution poisson --percentile=99 -f rates.csv
exit status: 0 measured, 1 failed, 2 measured but not stable or with failed requests"""


def _range(text: str) -> tuple[float, ...]:
    """START[:END[:STEP]] as values."""
    try:
        numbers = [float(part) for part in text.split(":")]
        start, end, step = (*numbers, *(numbers[0], 1.0)[len(numbers) - 1 :])
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected START[:END[:STEP]], not {text!r}") from None
    if start <= 0 or end < start or step <= 0:
        raise argparse.ArgumentTypeError(f"{text!r}: needs 0 < START <= END and STEP > 0")
    count = int((end - start) / step + 1e-9) + 1
    return tuple(start + i * step for i in range(count))


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, colon, dims = text.rpartition(":")
    try:
        shape = tuple(int(dim) for dim in dims.split(",") if dim)
    except ValueError:
        shape = ()
        colon = ""
    if not colon or any(dim < 0 for dim in shape):
        raise argparse.ArgumentTypeError(f"expected NAME:d1,d2,..., not {text!r}")
    return name, shape


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or "\n" in text or "\r" in text:
        raise argparse.ArgumentTypeError(f"expected NAME:VALUE, not {text!r}")
    return name.strip(), value.strip()


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, not {text!r}")
    return int(text)


def _percentile(text: str) -> float:
    value = float(text)
    if not 0 < value <= 100:
        raise argparse.ArgumentTypeError(f"expected a percentile above 0 up to 100, not {text!r}")
    return value


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fastserve perf",
        description=PROLOGUE,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("-m", "--model-name", required=True)
    parser.add_argument("-x", "--model-version", default="")
    parser.add_argument(
        "-i", "--protocol", type=str.lower, choices=["http", "grpc"], default="http"
    )
    parser.add_argument("-u", "--url", help="host:port; default localhost:8000 (gRPC: 8001)")
    parser.add_argument("-H", "--header", type=_header, action="append", default=[])
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="also where the server spends time"
    )
    _add_load(parser.add_argument_group("load"))
    _add_data(parser.add_argument_group("data"))
    _add_measuring(parser.add_argument_group("measuring"))
    return parser


def _add_load(group: "argparse._ArgumentGroup") -> None:
    levels = group.add_mutually_exclusive_group()
    levels.add_argument("--concurrency-range", type=_range, metavar="START[:END[:STEP]]")
    levels.add_argument("--request-rate-range", type=_range, metavar="START[:END[:STEP]]")
    group.add_argument(
        "--request-distribution", choices=["constant", "poisson"], default="constant"
    )
    group.add_argument("--threads", type=_positive, default=1, help="sending threads; default 1")
    group.add_argument("--grpc-connections", type=_positive, help="default: one to 6 callers")
    group.add_argument(
        "--max-in-flight", type=_positive, default=1024, help="open loop: the most requests at once"
    )
    group.add_argument("--request-timeout", type=_positive, default=60000, metavar="MS")
    group.add_argument("--seed", type=int, default=1, help="of data and of Poisson intervals")
    for flag in ("-a", "--async", "--sync"):
        group.add_argument(flag, action="store_true", dest="ignored", help="no effect, accepted")
    group.add_argument("--max-threads", type=_positive, dest="ignored", help="no effect, accepted")
    group.add_argument("--service-kind", choices=["triton"], default="triton")
    group.add_argument("--shared-memory", choices=["none"], default="none")


def _add_data(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("-b", "--batch-size", type=_positive, default=1)
    group.add_argument("--shape", type=_shape, action="append", default=[], metavar="NAME:D1,D2")
    group.add_argument(
        "--input-data", default="random", metavar="random|zero|FILE", help="FILE: perf_analyzer's"
    )
    group.add_argument("--string-length", type=_positive, default=128)
    group.add_argument("--string-data")
    group.add_argument("--json", action="store_true", help="HTTP: tensors as JSON both ways")
    group.add_argument("--input-tensor-format", choices=["binary", "json"], default="binary")
    group.add_argument("--output-tensor-format", choices=["binary", "json"], default="binary")


def _add_measuring(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("-p", "--measurement-interval", type=_positive, default=5000, metavar="MS")
    group.add_argument("--warmup-interval", type=int, default=1000, metavar="MS")
    group.add_argument("-r", "--max-trials", type=_positive, default=10)
    group.add_argument("-s", "--stability-percentage", type=float, default=10.0)
    group.add_argument("--percentile", type=_percentile, help="stability by it, not by the mean")
    group.add_argument("--request-count", type=int, default=0, help="so many, instead of windows")
    group.add_argument("-l", "--latency-threshold", type=float, metavar="MS", help="stop above it")
    group.add_argument("-f", "--filename", metavar="FILE.csv", help="write CSV")
    group.add_argument("--json-out", metavar="FILE.json", help="write JSON")


def parse(words: Sequence[str]) -> Settings:
    """Settings from the words after `perf`. Exits with a usage line when they make no sense."""
    parser = build_parser()
    values = parser.parse_args(list(words))
    if values.concurrency_range and any(value != int(value) for value in values.concurrency_range):
        parser.error("argument --concurrency-range: expected whole numbers")
    rates = values.request_rate_range
    default_port = 8001 if values.protocol == "grpc" else 8000
    return Settings(
        model_name=values.model_name,
        model_version=values.model_version,
        protocol=values.protocol,
        url=values.url or f"localhost:{default_port}",
        headers=tuple(values.header),
        json_input=values.json or values.input_tensor_format == "json",
        json_output=values.json or values.output_tensor_format == "json",
        levels=Levels("request rate", rates, values.request_distribution)
        if rates
        else Levels("concurrency", values.concurrency_range or (1.0,)),
        measuring=Measuring(
            interval_s=values.measurement_interval / 1000,
            warmup_s=values.warmup_interval / 1000,
            max_trials=values.max_trials,
            stability_percent=values.stability_percentage,
            percentile=values.percentile,
            request_count=values.request_count,
            latency_threshold_ms=values.latency_threshold,
        ),
        sending=Sending(
            threads=values.threads,
            grpc_connections=values.grpc_connections,
            max_in_flight=values.max_in_flight,
            request_timeout_s=values.request_timeout / 1000,
            seed=values.seed,
        ),
        data=DataOptions(
            source=values.input_data,
            batch_size=values.batch_size,
            shapes=dict(values.shape),
            string_length=values.string_length,
            string_data=values.string_data,
            seed=values.seed,
        ),
        csv_file=values.filename,
        json_file=values.json_out,
        verbose=values.verbose,
    )
