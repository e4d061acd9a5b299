"""`python -m fastserve perf` as a command, against a real server, over each protocol."""

import json
import os
import subprocess
import sys
import urllib.request

import pytest

from tests.python.conftest import write_model


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_the_server_counts_what_the_command_reports(start_server, tmp_path, protocol):
    write_model(tmp_path / "models", "m")
    server = start_server(f"--model-repository={tmp_path / 'models'}").wait_started()
    report = tmp_path / "report.json"
    words = f"-m m -i {protocol} -u {server.url(protocol)} -b 2 --shape INPUT0:3"
    words += " --concurrency-range 4 --request-count 200 -v --json-out"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-m", "fastserve", "perf", *words.split(), str(report)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Concurrency" in done.stdout
    assert "measuring concurrency 4" in done.stderr
    (level,) = json.loads(report.read_text())["levels"]
    assert (level["completed"], level["failed"]) == (200, 0)
    page = f"http://{server.url('http')}/v2/models/m/stats"
    with urllib.request.urlopen(page, timeout=10) as response:
        (stats,) = json.load(response)["model_stats"]
    assert stats["inference_stats"]["success"]["count"] == 200
    assert stats["inference_count"] == 400
