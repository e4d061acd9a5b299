"""The command line: perf_analyzer's spellings, ranges, and errors that name the flag."""

import shlex

import pytest
from fastserve.tools.perf.arguments import parse
from fastserve.tools.perf.failure import PerfError
from fastserve.tools.perf.load import target_of


def test_a_line_pasted_from_a_guide_works() -> None:
    settings = parse(
        shlex.split(
            "-m resnet -x 2 -i grpc -u host:9001 -b 4 --concurrency-range 1:32:4 --percentile=99 "
            "--input-data real_data.json --shape INPUT0:3,224,224 --shape B:1 -p 2000 -s 5 -r 7 "
            "--max-threads 16 --async -f out.csv --measurement-interval 3000"
        )
    )
    assert (settings.model_name, settings.model_version, settings.protocol) == (
        "resnet",
        "2",
        "grpc",
    )
    assert settings.levels.kind == "concurrency"
    assert settings.levels.values == (1, 5, 9, 13, 17, 21, 25, 29)
    assert settings.data.shapes == {"INPUT0": (3, 224, 224), "B": (1,)}
    assert settings.data.batch_size == 4
    assert settings.measuring.percentile == 99
    assert settings.measuring.interval_s == 3
    assert settings.measuring.max_trials == 7
    assert settings.csv_file == "out.csv"


@pytest.mark.parametrize(
    ("text", "values"),
    [("4", (4,)), ("1:3", (1, 2, 3)), ("100:1000:300", (100, 400, 700, 1000)), ("2:2:5", (2,))],
)
def test_ranges(text: str, values: tuple[float, ...]) -> None:
    assert parse(["-m", "m", "--request-rate-range", text]).levels.values == values


def test_the_default_is_one_caller_of_the_default_port() -> None:
    settings = parse(["-m", "m"])
    assert settings.levels.values == (1,)
    assert target_of(settings).port == "8000"
    assert target_of(parse(["-m", "m", "-i", "grpc"])).port == "8001"


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["-m", "m", "--concurrency-range", "0:4"],
        ["-m", "m", "--concurrency-range", "4:1"],
        ["-m", "m", "--concurrency-range", "1:2:3:4"],
        ["-m", "m", "--concurrency-range", "1.5"],
        ["-m", "m", "--concurrency-range", "1", "--request-rate-range", "1"],
        ["-m", "m", "--shape", "A"],
        ["-m", "m", "--shape", "A:1,x"],
        ["-m", "m", "--percentile", "0"],
        ["-m", "m", "-b", "0"],
        ["-m", "m", "--shared-memory", "system"],
        ["-m", "m", "-H", "no colon"],
    ],
)
def test_words_without_sense_end_with_a_usage_line(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(words)
    assert caught.value.code == 2
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("h:1", "h", "1"),
        ("http://h:1/", "h", "1"),
        ("h", "h", "8000"),
        ("[::1]:5", "::1", "5"),
        ("[::1]", "::1", "8000"),
    ],
)
def test_urls(url: str, host: str, port: str) -> None:
    target = target_of(parse(["-m", "m", "-u", url]))
    assert (target.host, target.port) == (host, port)


@pytest.mark.parametrize("url", ["https://h:1", "h:x", "h/path:1"])
def test_urls_that_are_no_address_are_refused(url: str) -> None:
    with pytest.raises(PerfError, match="-u"):
        target_of(parse(["-m", "m", "-u", url]))
