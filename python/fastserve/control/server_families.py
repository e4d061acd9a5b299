"""The names on the metrics page that are the server's own: no model's metric may have one."""

_SUFFIXES = ("", "_bucket", "_sum", "_count")  # of a histogram's or a summary's samples

# Of the core (csrc/engine/metrics_text.cc), of fastserve.metrics and of prometheus-client.
FAMILIES = frozenset(
    [
        "nv_cache_hit_duration_per_model",
        "nv_cache_hit_summary_per_model",
        "nv_cache_miss_duration_per_model",
        "nv_cache_miss_summary_per_model",
        "nv_cache_num_hits_per_model",
        "nv_cache_num_misses_per_model",
        "nv_cpu_memory_total_bytes",
        "nv_cpu_memory_used_bytes",
        "nv_cpu_utilization",
        "nv_fastserve_copied_bytes_total",
        "nv_fastserve_response_cache_bytes",
        "nv_fastserve_worker_deaths_total",
        "nv_fastserve_worker_restarts_total",
        "nv_inference_compute_infer_duration_us",
        "nv_inference_compute_infer_summary_us",
        "nv_inference_compute_input_duration_us",
        "nv_inference_compute_input_summary_us",
        "nv_inference_compute_output_duration_us",
        "nv_inference_compute_output_summary_us",
        "nv_inference_count",
        "nv_inference_exec_count",
        "nv_inference_first_response_histogram_ms",
        "nv_inference_pending_request_count",
        "nv_inference_queue_duration_us",
        "nv_inference_queue_summary_us",
        "nv_inference_request_duration_us",
        "nv_inference_request_failure",
        "nv_inference_request_success",
        "nv_inference_request_summary_us",
        "nv_model_load_duration_secs",
        "nv_pinned_memory_pool_total_bytes",
        "nv_pinned_memory_pool_used_bytes",
        "process_cpu_seconds_total",
        "process_max_fds",
        "process_open_fds",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
        "process_virtual_memory_bytes",
    ]
)
_SAMPLES = frozenset(name + suffix for name in FAMILIES for suffix in _SUFFIXES)


def clash(name: str, kind: str) -> str:
    """The server's sample that a model's family of that name would be taken for; "": none."""
    suffixes = _SUFFIXES if kind == "histogram" else ("",)
    return next((name + suffix for suffix in suffixes if name + suffix in _SAMPLES), "")
