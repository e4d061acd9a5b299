"""The whole command against real sockets: reports, files, failures, interruption."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fastserve import _core
from fastserve.tools.perf import main, wire

from tests.python.perf.kserve_stub import Answer, KserveStub

SHORT = ["-p", "50", "--warmup-interval", "0", "-r", "3"]
Serve = Callable[[Answer], KserveStub]


@pytest.fixture
def serve() -> Iterator[Serve]:
    stubs: list[KserveStub] = []

    def start(answer: Answer) -> KserveStub:
        stubs.append(KserveStub(answer))
        return stubs[-1]

    yield start
    for stub in stubs:
        stub.close()


def test_levels_go_to_the_table_the_csv_and_the_json(
    serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stub = serve(lambda _: (200, b"{}"))
    files = ["-f", str(tmp_path / "o.csv"), "--json-out", str(tmp_path / "o.json")]
    status = main(["-m", "m", "-u", stub.url, "--concurrency-range", "1:3:2", *SHORT, *files])
    assert status in (0, 2)  # a busy machine may not be stable
    table = capsys.readouterr().out
    assert "Concurrency" in table
    assert "p99.9" in table
    with (tmp_path / "o.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["Concurrency"] for row in rows] == ["1", "3"]
    assert all(float(row["Inferences/Second"]) > 0 for row in rows)
    assert {"Client Send", "Client Recv", "p50 latency", "p99 latency"} <= set(rows[0])
    levels = json.loads((tmp_path / "o.json").read_text())["levels"]
    assert [level["concurrency"] for level in levels] == [1, 3]
    assert all(level["latency_us"]["p50"] > 0 and level["failed"] == 0 for level in levels)


def test_binary_and_json_bodies_carry_the_same_tensor(serve: Serve) -> None:
    stub = serve(lambda _: (200, b"{}"))
    common = ["-m", "m", "-u", stub.url, "-b", "2", "--request-count", "1"]
    main(common)
    main([*common, "--json"])
    binary, text = stub.bodies
    head, raw = binary[:-32], binary[-32:]
    assert json.loads(head)["inputs"][0]["parameters"] == {"binary_data_size": 32}
    item = json.loads(text)["inputs"][0]
    assert item["shape"] == [2, 4]
    assert np.array(item["data"], np.float32).tobytes() == raw


def test_failures_are_counted_with_their_text(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    stub = serve(lambda _: (503, b'{"error":"Exceeds maximum queue size"}'))
    assert main(["-m", "m", "-u", stub.url, *SHORT]) == 1
    captured = capsys.readouterr()
    assert 'HTTP 503: {"error":"Exceeds maximum queue size"}' in captured.err


def test_some_failures_leave_a_report_and_a_doubtful_status(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = iter([(200, b"{}"), (400, b"no")] * 100000)
    stub = serve(lambda _: next(answers))
    assert main(["-m", "m", "-u", stub.url, *SHORT]) == 2
    assert "x HTTP 400: no" in capsys.readouterr().out


def test_a_request_rate_is_kept(serve: Serve, tmp_path: Path) -> None:
    stub = serve(lambda _: (200, b"{}"))
    words = ["-m", "m", "-u", stub.url, "--request-rate-range", "100", "--request-count", "30"]
    assert main([*words, "--json-out", str(tmp_path / "o.json")]) == 0
    level = json.loads((tmp_path / "o.json").read_text())["levels"][0]
    assert level["completed"] == 30
    assert level["seconds"] >= 0.28


@pytest.mark.parametrize("words", [["-m", "other"], ["-m", "m", "-b", "9"]])
def test_what_cannot_be_asked_is_one_line(
    serve: Serve, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    stub = serve(lambda _: (200, b"{}"))
    assert main([*words, "-u", stub.url]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_nobody_listening_is_one_line(protocol: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-m", "m", "-i", protocol, "-u", "127.0.0.1:1"]) == 1
    assert "Connection refused" in capsys.readouterr().err


def canned_model() -> _core.CannedGrpcServer:
    tensor = wire.length_field(1, "A") + wire.length_field(2, "FP32")
    metadata = wire.length_field(4, tensor + wire.packed_field(3, [-1, 4]))
    config = wire.length_field(1, wire.varint(4 << 3) + wire.varint(8))
    service = "/inference.GRPCInferenceService/"
    return _core.CannedGrpcServer.start(
        {
            service + "ModelMetadata": wire.length_field(1, "m") + metadata,
            service + "ModelConfig": config,
            service + "ModelInfer": wire.length_field(1, "m"),
        }
    )


def test_grpc_is_measured(tmp_path: Path) -> None:
    server = canned_model()
    words = ["-m", "m", "-i", "grpc", "-u", f"127.0.0.1:{server.port}", "-b", "8"]
    words += ["--concurrency-range", "8", "--request-count", "500"]
    assert main([*words, "--json-out", str(tmp_path / "o.json")]) == 0
    level = json.loads((tmp_path / "o.json").read_text())["levels"][0]
    assert level["completed"] == 500
    assert level["inferences_per_second"] == pytest.approx(8 * level["requests_per_second"])


def test_interruption_reports_what_was_measured() -> None:
    server = canned_model()
    words = ["-m", "m", "-i", "grpc", "-u", f"127.0.0.1:{server.port}", "-p", "60000"]
    # A shell's background job, such as a CI run may be, hands down an ignored SIGINT.
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from fastserve.tools.perf import main; sys.exit(main())"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", program, *words, "--warmup-interval", "0", "-v"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stderr is not None
        process.stderr.readline()  # "measuring ..."
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert "Concurrency" in output
