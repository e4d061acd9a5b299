"""The server as a real process: start, drain, stop, and every way it refuses to start."""

import contextlib
import http.client
import json
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from prometheus_client.parser import text_string_to_metric_families
from tritonclient.utils import InferenceServerException

from tests.python.conftest import IDENTITY_CONFIG, write_model

SLOW_CONFIG = (
    IDENTITY_CONFIG + 'parameters { key: "execute_delay_ms" value { string_value: "1500" } }'
)
BODY = json.dumps(
    {"inputs": [{"name": "INPUT0", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
)


def call(server, method: str, path: str, body: str | None = None, service: str = "http") -> tuple:
    """(status, content type, body)"""
    connection = http.client.HTTPConnection(server.url(service), timeout=30)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.getheader("Content-Type"), response.read().decode()
    finally:
        connection.close()


def infer(server, model: str = "m") -> tuple:
    return call(server, "POST", f"/v2/models/{model}/infer", BODY)


def ask_in_vain(server) -> None:
    """The server may end meanwhile."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        infer(server, "slow")


@contextlib.contextmanager
def asking(*asks: Callable[[], object]) -> Iterator[None]:
    """Each in a thread of its own; all have ended afterwards."""
    threads = [threading.Thread(target=ask) for ask in asks]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join()


def test_it_serves_says_where_and_stops_with_status_0(start_server, tmp_path):
    write_model(tmp_path, "m")
    server = start_server(f"--model-repository={tmp_path}").wait_started()
    assert call(server, "GET", "/v2/health/ready")[0] == 200
    assert json.loads(infer(server)[2])["outputs"][0]["data"] == [1, 2]
    assert any("| m     | 1       | READY  |" in line for line in server.lines)
    assert server.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_running_requests_end_and_new_ones_are_refused(
    start_server, tmp_path, number
):
    write_model(tmp_path, "slow", SLOW_CONFIG)
    server = start_server(f"--model-repository={tmp_path}").wait_started()
    answers: list[int] = []
    with asking(*3 * [lambda: answers.append(infer(server, "slow")[0])]):
        wait_until_pending(server)
        server.process.send_signal(number)
        line = server.wait_line("Waiting for in-flight requests to complete")
        in_flight = int(line.partition("complete: ")[2].split()[0])
        status, _, text = infer(server, "slow")
        assert status == 503, text
    assert in_flight >= 2
    assert answers.count(200) == in_flight
    assert server.wait_exit() == 0


def wait_until_pending(server, count: int = 1) -> None:
    """Until so many requests wait in the queue, so that another one is being executed."""
    while True:
        text = call(server, "GET", "/metrics", service="metrics")[2]
        for family in text_string_to_metric_families(text):
            if (
                family.name == "nv_inference_pending_request_count"
                and family.samples[0].value >= count
            ):
                return


def test_a_signal_while_models_load_ends_the_process(start_server, tmp_path):
    model = write_model(tmp_path, "stuck")
    (model / "config.pbtxt").unlink()
    os.mkfifo(model / "config.pbtxt")  # reading it blocks until someone writes
    server = start_server(f"--model-repository={tmp_path}", "--log-verbose=1")
    server.wait_line("Loading 1 models")
    server.process.send_signal(signal.SIGTERM)
    assert server.wait_exit() == 0


def test_a_load_that_never_ends_does_not_hold_up_the_stop(start_server, tmp_path):
    model = write_model(tmp_path, "stuck")
    (model / "config.pbtxt").unlink()
    os.mkfifo(model / "config.pbtxt")
    server = start_server(f"--model-repository={tmp_path}", "--model-control-mode=explicit")
    server.wait_started()
    connection = http.client.HTTPConnection(server.url("http"), timeout=30)
    connection.request("POST", "/v2/repository/models/stuck/load")
    while "LOADING" not in call(server, "POST", "/v2/repository/index")[2]:
        pass
    server.process.send_signal(signal.SIGTERM)
    assert server.wait_exit() == 0
    connection.close()


def test_a_second_signal_ends_the_process_at_once(start_server, tmp_path):
    write_model(tmp_path, "slow", SLOW_CONFIG.replace("1500", "60000"))
    server = start_server(f"--model-repository={tmp_path}", "--exit-timeout-secs=60").wait_started()

    with asking(*3 * [lambda: ask_in_vain(server)]):
        wait_until_pending(server)
        server.process.send_signal(signal.SIGTERM)
        server.wait_line("Waiting for in-flight requests")
        server.process.send_signal(signal.SIGTERM)
        assert server.wait_exit() == 1


def test_an_exit_timeout_cuts_off_what_still_runs_and_ends_the_process(start_server, tmp_path):
    write_model(tmp_path, "slow", SLOW_CONFIG.replace("1500", "60000"))
    server = start_server(f"--model-repository={tmp_path}", "--exit-timeout-secs=1").wait_started()
    codes = []

    def ask_grpc() -> None:
        with grpcclient.InferenceServerClient(server.url("grpc")) as client:
            tensor = grpcclient.InferInput("INPUT0", [1, 2], "FP32")
            tensor.set_data_from_numpy(np.ones((1, 2), np.float32))
            with pytest.raises(InferenceServerException) as failure:
                client.infer("slow", [tensor])
            codes.append(failure.value.status())

    with asking(*2 * [lambda: ask_in_vain(server)], ask_grpc):
        wait_until_pending(server, 2)
        server.process.send_signal(signal.SIGTERM)
        server.wait_line("Waiting for in-flight requests")
        stopped = time.monotonic()
        assert server.wait_exit() == 1
        assert time.monotonic() - stopped < 30
        server.wait_line("Exit timeout of 1 s expired, exiting: 3 requests in flight are cut off")
    # The connection is gone, or the queued request was cancelled just before.
    assert codes in (["StatusCode.UNAVAILABLE"], ["StatusCode.CANCELLED"])


@pytest.mark.parametrize("flag", ["http-port", "grpc-port", "metrics-port"])
def test_a_port_in_use_is_one_clear_line_and_a_failure(start_server, tmp_path, flag):
    write_model(tmp_path, "m")
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = start_server(f"--model-repository={tmp_path}", f"--{flag}={port}")
        assert server.wait_exit() == 1
    errors = [line for line in server.lines if line.startswith("E")]
    assert len(errors) == 1
    assert "failed to start" in errors[0]
    assert str(port) in errors[0]


def test_a_missing_repository_is_one_clear_line_and_a_failure(start_server, tmp_path):
    server = start_server(f"--model-repository={tmp_path}/none")
    assert server.wait_exit() == 1
    (line,) = server.lines
    assert "none is not a directory" in line


def test_a_broken_model_ends_the_start_unless_told_otherwise(start_server, tmp_path):
    write_model(tmp_path, "good")
    write_model(tmp_path, "bad", "max_batch_size: [")
    server = start_server(f"--model-repository={tmp_path}")
    assert server.wait_exit() == 1
    assert any("config.pbtxt:1:" in line for line in server.lines)
    assert any("failed to load all models" in line for line in server.lines)

    server = start_server(f"--model-repository={tmp_path}", "--exit-on-error=false").wait_started()
    assert call(server, "GET", "/v2/health/ready")[0] != 200
    assert call(server, "GET", "/v2/health/live")[0] == 200
    assert infer(server, "good")[0] == 200
    assert server.stop() == 0

    server = start_server(
        f"--model-repository={tmp_path}", "--exit-on-error=false", "--strict-readiness=false"
    ).wait_started()
    assert call(server, "GET", "/v2/health/ready")[0] == 200


def test_a_bad_flag_is_told_before_anything_starts(start_server, tmp_path):
    server = start_server(f"--model-repository={tmp_path}", "--http-prot=1")
    assert server.wait_exit() == 1
    assert server.lines == ['Bad option: "--http-prot".', "Unknown flag. Did you mean --http-port?"]


def test_services_can_be_switched_off(start_server, tmp_path):
    write_model(tmp_path, "m")
    server = start_server(
        f"--model-repository={tmp_path}", "--allow-grpc=false", "--allow-metrics=false"
    ).wait_started(1)
    assert set(server.ports) == {"http"}
    assert infer(server)[0] == 200


def test_the_log_goes_to_a_file_in_the_format_asked_for(start_server, tmp_path):
    write_model(tmp_path / "models", "m")
    log_file = tmp_path / "log"
    server = start_server(
        f"--model-repository={tmp_path / 'models'}",
        f"--log-file={log_file}",
        "--log-format=ISO8601",
    )
    while not (log_file.exists() and "Started Metrics Service" in log_file.read_text()):
        assert server.process.poll() is None
    assert server.stop() == 0
    assert server.lines == []
    assert "T" in log_file.read_text().split()[0]


def test_the_metrics_page_is_prometheus_text_with_tritons_families(start_server, tmp_path):
    write_model(tmp_path, "m")
    server = start_server(f"--model-repository={tmp_path}").wait_started()
    assert infer(server)[0] == 200
    status, content_type, text = call(server, "GET", "/metrics", service="metrics")
    assert status == 200
    assert content_type == "text/plain; charset=utf-8"
    # The parser calls a counter X "X_total".
    families = text_string_to_metric_families(text)
    samples = {s.name.removesuffix("_total"): s for f in families for s in f.samples}
    for name in (
        "nv_inference_count",
        "nv_cpu_utilization",
        "nv_cpu_memory_total_bytes",
        "nv_cpu_memory_used_bytes",
        "nv_pinned_memory_pool_total_bytes",
        "process_resident_memory_bytes",
    ):
        assert name in samples, name
    assert 0 <= samples["nv_cpu_utilization"].value <= 1
    assert samples["nv_cpu_memory_used_bytes"].value < samples["nv_cpu_memory_total_bytes"].value


def test_an_idle_server_uses_no_cpu(start_server, tmp_path):
    write_model(tmp_path, "m")
    server = start_server(f"--model-repository={tmp_path}").wait_started()
    assert infer(server)[0] == 200

    def ticks() -> int:
        fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    threading.Event().wait(2.0)  # the time that is measured, not a wait for something
    assert (ticks() - before) / os.sysconf("SC_CLK_TCK") <= 0.04


def test_running_out_of_file_descriptors_costs_only_new_connections(start_server, tmp_path):
    write_model(tmp_path, "m")
    server = start_server(f"--model-repository={tmp_path}").wait_started()
    assert infer(server)[0] == 200
    in_use = len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))
    hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (in_use + 10, hard))
    with contextlib.ExitStack() as crowd:
        for service in ("http", "grpc", "metrics"):
            host, port = server.url(service).rsplit(":", 1)
            for _ in range(20):
                crowd.enter_context(socket.create_connection((host, int(port)), timeout=10))
    # The crowd has gone; until the server has seen that, it may still turn a connection away.
    for service, path in (("http", "/v2/health/ready"), ("metrics", "/metrics")):
        deadline = time.monotonic() + 30
        status = 0
        while status != 200 and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                status = call(server, "GET", path, service=service)[0]
        assert status == 200
    assert infer(server)[0] == 200
    assert server.stop() == 0


def test_the_scheduler_can_be_held_until_requests_are_queued(start_server, tmp_path):
    write_model(tmp_path, "m", IDENTITY_CONFIG + "dynamic_batching { }")
    environment = {**os.environ, "TRITONSERVER_DELAY_SCHEDULER": "4"}
    server = start_server(f"--model-repository={tmp_path}", environment=environment).wait_started()
    with asking(*4 * [lambda: infer(server)]):
        pass  # each waits for all of them
    (statistics,) = json.loads(call(server, "GET", "/v2/models/m/stats")[2])["model_stats"]
    assert (statistics["inference_count"], statistics["execution_count"]) == (4, 1)
