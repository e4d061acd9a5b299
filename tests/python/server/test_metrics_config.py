"""--metrics-config and model_metrics: what they take, and what a real server's page then has."""

import http.client
import json
import re
import shutil
import subprocess

import pytest
from fastserve.cli import BadOptionError, parse
from fastserve.metrics_config import MetricsSettings, core_metrics_options, metrics_settings
from prometheus_client.parser import text_string_to_metric_families

from tests.python.conftest import IDENTITY_CONFIG, write_model

HISTOGRAM = "nv_inference_first_response_histogram_ms"
SUMMARIES = [
    "nv_inference_request_summary_us",
    "nv_inference_queue_summary_us",
    "nv_inference_compute_input_summary_us",
    "nv_inference_compute_infer_summary_us",
    "nv_inference_compute_output_summary_us",
]
CACHE_SUMMARIES = ["nv_cache_hit_summary_per_model", "nv_cache_miss_summary_per_model"]
# What dashboards ask of a server without a GPU, as Triton exports it.
MODEL_FAMILIES = {
    "nv_inference_request_success": "counter",
    "nv_inference_request_failure": "counter",
    "nv_inference_count": "counter",
    "nv_inference_exec_count": "counter",
    "nv_inference_request_duration_us": "counter",
    "nv_inference_queue_duration_us": "counter",
    "nv_inference_compute_input_duration_us": "counter",
    "nv_inference_compute_infer_duration_us": "counter",
    "nv_inference_compute_output_duration_us": "counter",
    "nv_inference_pending_request_count": "gauge",
    "nv_model_load_duration_secs": "gauge",
    HISTOGRAM: "histogram",
    **dict.fromkeys(SUMMARIES, "summary"),
}
CACHE_FAMILIES = {
    "nv_cache_num_hits_per_model": "counter",
    "nv_cache_num_misses_per_model": "counter",
    "nv_cache_hit_duration_per_model": "counter",
    "nv_cache_miss_duration_per_model": "counter",
    **dict.fromkeys(CACHE_SUMMARIES, "summary"),
}
SERVER_FAMILIES = {
    "nv_pinned_memory_pool_total_bytes": "gauge",
    "nv_pinned_memory_pool_used_bytes": "gauge",
    "nv_cpu_utilization": "gauge",
    "nv_cpu_memory_total_bytes": "gauge",
    "nv_cpu_memory_used_bytes": "gauge",
}
CACHED_CONFIG = IDENTITY_CONFIG + "response_cache { enable: true }"
BODY = json.dumps(
    {"inputs": [{"name": "INPUT0", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
)


def settings(*texts: str) -> MetricsSettings:
    flags = [f"--metrics-config={text}" for text in texts]
    return metrics_settings(parse(["--model-repository=r", *flags]))


def test_defaults_are_tritons():
    assert settings() == MetricsSettings(True, False, False, (0.5, 0.9, 0.95, 0.99, 0.999))
    assert core_metrics_options(settings())["summary_quantiles"] == []


def test_every_setting_is_read_and_the_last_counts():
    assert settings(
        "counter_latencies=true",
        "counter_latencies=FALSE",
        "histogram_latencies=on",
        "summary_latencies=1",
        "summary_quantiles=0.75:0.1,0.25:0,1:0",
    ) == MetricsSettings(False, True, True, (0.25, 0.75, 1.0))


def test_a_setting_of_a_name_has_no_effect_and_says_so():
    options = parse(["--model-repository=r", "--metrics-config=m,summary_latencies=true"])
    assert not metrics_settings(options).summary_latencies
    (warning,) = options.warnings
    assert warning.endswith("write --metrics-config=summary_latencies=true")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("summary_latencies", "'summary_latencies' is not <setting>=<value>"),
        ("summary_latencies=", "is not <setting>=<value>"),
        ("summaries=true", "'summaries' is not a known setting; they are counter_latencies,"),
        ("m,summaries=true", "'summaries' is not a known setting"),
        ("summary_latencies=maybe", "summary_latencies is 'maybe', expected true or false"),
        ("summary_quantiles=0.5", "has '0.5', expected <quantile>:<error>; write for example"),
        ("summary_quantiles=1.5:0.1", "has '1.5:0.1', expected two numbers from 0 to 1"),
        ("summary_quantiles=nan:0.1", "expected two numbers from 0 to 1"),
        ("summary_quantiles=0.5:x", "expected two numbers from 0 to 1"),
        ("summary_quantiles=" + ",".join(["0.5:0.1"] * 65), "has 65 quantiles, at most 64 fit"),
    ],
)
def test_a_wrong_setting_is_told_with_what_to_write(text, message):
    with pytest.raises(BadOptionError, match=message):
        settings(text)


def get(server, path: str = "/metrics") -> str:
    connection = http.client.HTTPConnection(server.url("metrics"), timeout=30)
    connection.request("GET", path)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    assert response.status == 200, text
    return text


def infer(server, model: str) -> None:
    connection = http.client.HTTPConnection(server.url("http"), timeout=30)
    connection.request("POST", f"/v2/models/{model}/infer", BODY)
    response = connection.getresponse()
    assert response.status == 200, response.read()
    response.read()
    connection.close()


def whole_page(start_server, repository, models) -> str:
    """Of a server with every metric switched on, when the models have answered in that order."""
    server = start_server(
        f"--model-repository={repository}",
        "--cache-config=local,size=1048576",
        "--metrics-config=summary_latencies=true",
        "--metrics-config=histogram_latencies=true",
    ).wait_started()
    for model in models:
        infer(server, model)
    return get(server)


def families(text: str) -> dict:
    """By name; a counter is called without _total here."""
    return {family.name: family for family in text_string_to_metric_families(text)}


def sample(family, suffix: str, **labels: str) -> float:
    (value,) = [
        item.value
        for item in family.samples
        if item.name == family.name + suffix and labels.items() <= item.labels.items()
    ]
    return float(value)


def check_with_promtool(text: str) -> None:
    """3: it only dislikes names, which are Triton's."""
    if shutil.which("promtool"):
        done = subprocess.run(
            ["promtool", "check", "metrics"],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in (0, 3), done.stderr


def test_nothing_of_it_is_on_the_page_unless_asked_for(start_server, tmp_path):
    write_model(tmp_path, "m")
    server = start_server(f"--model-repository={tmp_path}").wait_started()
    infer(server, "m")
    text = get(server)
    assert "summary" not in text
    assert HISTOGRAM not in text
    check_with_promtool(text)


def test_all_of_it_is_on_the_page_when_asked_for(start_server, tmp_path):
    write_model(tmp_path, "m", IDENTITY_CONFIG + 'metric_tags { key: "team" value: "a" }')
    write_model(
        tmp_path,
        "buckets",
        IDENTITY_CONFIG
        + f"""model_metrics {{ metric_control {{
          metric_identifier {{ family: "{HISTOGRAM}" }}
          histogram_options {{ buckets: [ 0.5, 60000 ] }} }} }}""",
    )
    write_model(tmp_path, "cached", CACHED_CONFIG)
    models = ("m", "m", "buckets", "cached", "cached")
    text = whole_page(start_server, tmp_path, models)
    check_with_promtool(text)
    page = families(text)
    for name in SUMMARIES:
        assert page[name].type == "summary"
        assert sample(page[name], "_count", model="m", _team="a") == 2
        assert sample(page[name], "", model="m", quantile="0.999") >= 0
    assert sample(page[SUMMARIES[0]], "_sum", model="m") > 0
    assert {item.labels["model"] for item in page[SUMMARIES[0]].samples} == {"m", "buckets"}
    assert sample(page[SUMMARIES[1]], "_count", model="cached") == 2
    for name in CACHE_SUMMARIES:
        assert {item.labels["model"] for item in page[name].samples} == {"cached"}
        assert sample(page[name], "_count", model="cached") == 1
    histogram = page[HISTOGRAM]
    assert histogram.type == "histogram"
    bounds = {
        model: [
            item.labels["le"]
            for item in histogram.samples
            if item.name.endswith("_bucket") and item.labels["model"] == model
        ]
        for model in ("m", "buckets")
    }
    assert bounds == {
        "m": ["100", "500", "2000", "5000", "+Inf"],
        "buckets": ["0.5", "60000", "+Inf"],
    }
    assert sample(histogram, "_bucket", model="buckets", le="60000") == 1
    assert sample(histogram, "_count", model="cached") == 2


def test_every_family_of_triton_without_a_gpu_is_on_the_page(start_server, tmp_path):
    write_model(tmp_path, "m")
    write_model(tmp_path, "cached", CACHED_CONFIG)
    text = whole_page(start_server, tmp_path, ("m", "cached", "cached"))
    lines = text.splitlines()
    labels = {"": SERVER_FAMILIES, '{model="m"': MODEL_FAMILIES, '{model="cached"': CACHE_FAMILIES}
    for label, expected in labels.items():
        for name, kind in expected.items():
            assert f"# TYPE {name} {kind}" in lines
            suffix = "_count" if kind in ("histogram", "summary") else ""
            start = f"{name}{suffix}{label}"
            values = [line.rpartition(" ")[2] for line in lines if line.startswith(start)]
            assert values, start
            if name.endswith(("_success", "_count", "_per_model")) and "duration" not in name:
                assert all(float(value) > 0 for value in values) or kind != "counter", start
    reasons = re.findall(r'request_failure{model="m",reason="(\w+)",version="1"} 0', text)
    assert sorted(reasons) == ["BACKEND", "CANCELED", "OTHER", "REJECTED"]
    for phase in ("request", "queue", "compute_input", "compute_infer", "compute_output"):
        for suffix in ("_sum", "_count", "_bucket"):
            assert f"\nnv_inference_{phase}_duration_us{suffix}{{" in text


def test_chosen_quantiles_and_no_counters(start_server, tmp_path):
    write_model(tmp_path, "m")
    server = start_server(
        f"--model-repository={tmp_path}",
        "--metrics-config=counter_latencies=false",
        "--metrics-config=summary_latencies=true",
        "--metrics-config=summary_quantiles=0.25:0.01,1:0",
    ).wait_started()
    page = families(get(server))
    quantiles = [s.labels["quantile"] for s in page[SUMMARIES[0]].samples if s.name == SUMMARIES[0]]
    assert quantiles == ["0.25", "1"]
    assert all(s.value != s.value for s in page[SUMMARIES[0]].samples if s.name == SUMMARIES[0])
    assert "nv_inference_request_duration_us" not in page


def test_cpu_gauges_follow_their_switch(start_server, tmp_path):
    write_model(tmp_path, "m")
    server = start_server(
        f"--model-repository={tmp_path}", "--allow-cpu-metrics=false", "--allow-gpu-metrics=false"
    ).wait_started()
    assert "nv_cpu_" not in get(server)
