"""Every flag of the server, in one table: the fields of Options.

Type, default, section, help and effect stand here once; the parser, `--help`, docs/flags.md and the
error messages (cli.py) are made from it. Names and defaults are Triton's; `max_inflight_bytes` is
our own extension.
"""

# ruff: noqa: RUF009 -- _flag only makes the field() of the table
from dataclasses import dataclass, field
from typing import Any

from fastserve.flags import flag

LATER = "it is not offered yet"
NO_GPU = "no GPU is used"


_SERVER = "Server"
_LOG = "Logging"
_REPO = "Model Repository"
_HTTP = "HTTP"
_GRPC = "GRPC"
_SAGE = "Sagemaker"
_VERTEX = "Vertex"
_METRICS = "Metrics"
_TRACE = "Tracing"
_BACKEND = "Backend"
_CACHE = "Response Cache"
_RATE = "Rate Limiter"
_MEMORY = "Memory/Device Management"
_PORT: dict[str, Any] = {"minimum": 0, "maximum": 65535}


@dataclass
class Options:
    """The server's settings. Field names are flag names with underscores."""

    id: str = flag("triton", _SERVER, "Name of this server, as server metadata reports it.")
    exit_timeout_secs: int = flag(
        30, _SERVER, "Seconds that running requests get to finish when the server stops.", minimum=0
    )
    max_inflight_bytes: int = flag(
        0,
        _SERVER,
        "fastserve only: limit of the input bytes of all requests in the server, and of what it "
        "is receiving; requests beyond it are answered UNAVAILABLE. 0 is half of the memory limit "
        "of the cgroup or the machine.",
        minimum=0,
    )

    log_verbose: int = flag(
        0, _LOG, "Level of verbose logging; 0 is off. A bool means 1 or 0.", minimum=0
    )
    log_info: bool = flag(True, _LOG, "Log INFO lines.")
    log_warning: bool = flag(True, _LOG, "Log WARNING lines.")
    log_error: bool = flag(True, _LOG, "Log ERROR lines.")
    log_format: str = flag(
        "default", _LOG, "Format of the time in log lines.", choices=("default", "ISO8601")
    )
    log_file: str = flag("", _LOG, "File that log lines are appended to; empty is the console.")

    model_repository: list[str] = flag(
        [],
        _REPO,
        "Directory of a model repository. May be given several times.",
        aliases=("model-store",),
    )
    exit_on_error: bool = flag(True, _REPO, "Exit when a model fails to load at start.")
    disable_auto_complete_config: bool = flag(
        False, _REPO, "Do not complete model configurations from the model files.", no_argument=True
    )
    strict_readiness: bool = flag(
        True, _REPO, "Ready only when every model of the repository is ready."
    )
    model_control_mode: str = flag(
        "none",
        _REPO,
        "How models are loaded: all at start, or when asked for.",
        choices=("none", "poll", "explicit"),
        unsupported_values={
            "poll": "polling is not offered yet; use --model-control-mode=explicit and load models "
            "with POST /v2/repository/models/NAME/load"
        },
    )
    repository_poll_secs: int = flag(
        15, _REPO, "Seconds between polls.", no_effect="polling is not offered yet"
    )
    load_model: list[str] = flag(
        [],
        _REPO,
        'Model to load at start in explicit mode; "*" alone loads all. May be given several times.',
    )
    model_config_name: str = flag(
        "", _REPO, "Use MODEL/configs/NAME.pbtxt as the configuration where it exists."
    )
    model_load_thread_count: int = flag(
        4, _REPO, "Threads that load models.", minimum=1, maximum=256
    )
    model_load_retry_count: int = flag(
        0, _REPO, "How often a failed load is tried again.", minimum=0
    )
    model_namespacing: bool = flag(
        False, _REPO, "Namespaces for models of one name.", unsupported=LATER
    )
    enable_peer_access: bool = flag(True, _REPO, "GPU peer access.", no_effect=NO_GPU)

    allow_http: bool = flag(True, _HTTP, "Serve HTTP.")
    http_address: str = flag("0.0.0.0", _HTTP, "Address to listen on.")
    http_port: int = flag(
        8000, _HTTP, "Port to listen on; 0 picks a free one (see the log).", **_PORT
    )
    reuse_http_port: bool = flag(False, _HTTP, "Let several servers share the port (SO_REUSEPORT).")
    http_header_forward_pattern: str = flag(
        "",
        _HTTP,
        "Regular expression of headers that become request parameters.",
        unsupported=LATER,
    )
    http_thread_count: int = flag(
        8, _HTTP, "HTTP threads.", minimum=1, no_effect="HTTP runs on one event loop"
    )
    http_max_input_size: int = flag(
        67108864, _HTTP, "Largest request body in bytes, before and after decompression.", minimum=1
    )
    http_restricted_api: list[str] = flag(
        [], _HTTP, "APIs that need a key.", unsupported=LATER, metavar="<apis>:<key>=<value>"
    )

    allow_grpc: bool = flag(True, _GRPC, "Serve GRPC.")
    grpc_address: str = flag("0.0.0.0", _GRPC, "Address to listen on.")
    grpc_port: int = flag(
        8001, _GRPC, "Port to listen on; 0 picks a free one (see the log).", **_PORT
    )
    reuse_grpc_port: bool = flag(False, _GRPC, "Let several servers share the port (SO_REUSEPORT).")
    grpc_header_forward_pattern: str = flag(
        "",
        _GRPC,
        "Regular expression of headers that become request parameters.",
        unsupported=LATER,
    )
    grpc_infer_thread_count: int = flag(
        2, _GRPC, "Threads that serve connections.", minimum=2, maximum=128
    )
    grpc_infer_allocation_pool_size: int = flag(
        8, _GRPC, "Pool of request objects.", no_effect="requests are not pooled"
    )
    grpc_max_response_pool_size: int = flag(
        2147483647,
        _GRPC,
        "Pool of response objects.",
        minimum=1,
        no_effect="responses are not pooled",
    )
    grpc_use_ssl: bool = flag(False, _GRPC, "TLS.", unsupported=LATER)
    grpc_use_ssl_mutual: bool = flag(
        False, _GRPC, "TLS with client certificates.", unsupported=LATER
    )
    grpc_server_cert: str = flag("", _GRPC, "Certificate of the server.", unsupported=LATER)
    grpc_server_key: str = flag("", _GRPC, "Private key of the server.", unsupported=LATER)
    grpc_root_cert: str = flag("", _GRPC, "Root certificate of clients.", unsupported=LATER)
    grpc_infer_response_compression_level: str = flag(
        "none", _GRPC, "Compression of infer responses.", choices=("none", "low", "medium", "high")
    )
    grpc_keepalive_time: int = flag(
        7200000, _GRPC, "Milliseconds without traffic before a ping.", minimum=1
    )
    grpc_keepalive_timeout: int = flag(
        20000, _GRPC, "Milliseconds to wait for a ping's answer.", minimum=1
    )
    grpc_keepalive_permit_without_calls: bool = flag(
        False, _GRPC, "Ping connections without calls."
    )
    grpc_http2_max_pings_without_data: int = flag(
        2, _GRPC, "Pings sent without data in between.", minimum=0
    )
    grpc_http2_min_recv_ping_interval_without_data: int = flag(
        300000, _GRPC, "Milliseconds a client must leave between pings without data.", minimum=0
    )
    grpc_http2_max_ping_strikes: int = flag(2, _GRPC, "Bad pings a client may send.", minimum=0)
    grpc_max_connection_age: int = flag(
        0, _GRPC, "Milliseconds a connection may live; 0 is for ever.", minimum=0
    )
    grpc_max_connection_age_grace: int = flag(
        0, _GRPC, "Milliseconds that calls of an aged connection get; 0 is for ever.", minimum=0
    )
    grpc_restricted_protocol: list[str] = flag(
        [],
        _GRPC,
        "Protocols that need a key.",
        unsupported=LATER,
        metavar="<protocols>:<key>=<value>",
    )

    allow_sagemaker: bool = flag(False, _SAGE, "Serve the SageMaker endpoints.", unsupported=LATER)
    sagemaker_port: int = flag(8080, _SAGE, "Port.", no_effect=LATER, **_PORT)
    sagemaker_safe_port_range: str = flag(
        "", _SAGE, "Allowed ports.", no_effect=LATER, metavar="<int>-<int>"
    )
    sagemaker_thread_count: int = flag(8, _SAGE, "Threads.", no_effect=LATER)

    allow_vertex_ai: bool = flag(
        False, _VERTEX, "Serve the Vertex AI endpoints.", unsupported=LATER
    )
    vertex_ai_port: int = flag(8080, _VERTEX, "Port.", no_effect=LATER, **_PORT)
    vertex_ai_thread_count: int = flag(8, _VERTEX, "Threads.", no_effect=LATER)
    vertex_ai_default_model: str = flag(
        "", _VERTEX, "Model of requests without one.", no_effect=LATER
    )

    allow_metrics: bool = flag(True, _METRICS, "Serve Prometheus metrics.")
    allow_gpu_metrics: bool = flag(True, _METRICS, "GPU gauges.", no_effect=NO_GPU)
    allow_cpu_metrics: bool = flag(True, _METRICS, "CPU and memory gauges.")
    metrics_address: str = flag("", _METRICS, "Address to listen on; empty is --http-address.")
    metrics_port: int = flag(
        8002, _METRICS, "Port to listen on; 0 picks a free one (see the log).", **_PORT
    )
    metrics_interval_ms: int = flag(
        2000, _METRICS, "Milliseconds for which CPU and memory gauges keep their value.", minimum=0
    )
    metrics_config: list[str] = flag(
        [],
        _METRICS,
        "Setting of the metrics: counter_latencies=true|false, histogram_latencies=true|false, "
        "summary_latencies=true|false, summary_quantiles=0.5:0.05,0.9:0.01. May be given several "
        "times.",
        metavar="[<name>,]<setting>=<value>",
    )

    trace_config: list[str] = flag(
        [], _TRACE, "Tracing.", unsupported=LATER, metavar="[<mode>,]<key>=<value>"
    )

    backend_directory: str = flag(
        "/opt/tritonserver/backends",
        _BACKEND,
        "Folder with a folder for each Python-based backend, which holds its model.py.",
    )
    backend_config: list[str] = flag(
        [],
        _BACKEND,
        "Setting of one backend, or of all: default-max-batch-size; onnxruntime: "
        "intra-op-thread-count, "
        "inter-op-thread-count, enable-global-threadpool; python: stub-timeout-seconds.",
        metavar="[<backend>,]<key>=<value>",
    )
    repoagent_directory: str = flag(
        "/opt/tritonserver/repoagents",
        "Repository Agent",
        "Agents.",
        no_effect="there are no repository agents",
    )

    cache_config: list[str] = flag(
        [],
        _CACHE,
        "Response cache: local,size=BYTES, or redis,host=HOST and redis,port=PORT (and user, "
        "password, db, connect_timeout, socket_timeout). May be given several times.",
        metavar="<name>,<key>=<value>",
    )
    cache_directory: str = flag(
        "/opt/tritonserver/caches",
        _CACHE,
        "Caches.",
        no_effect="the caches local and redis are part of the package",
    )

    rate_limit: str = flag(
        "off",
        _RATE,
        "Whether executions wait for the resources that instance groups name (execution_count).",
        choices=("off", "execution_count"),
        aliases=("rate-limiter",),
    )
    rate_limit_resource: list[str] = flag(
        [],
        _RATE,
        "How many of a resource there are. Without it: what the most demanding instance needs.",
        aliases=("rate-limiter-resource",),
        metavar="<name>:<count>[:<device>]",
    )

    pinned_memory_pool_byte_size: int = flag(
        268435456, _MEMORY, "Pinned memory.", minimum=0, no_effect=NO_GPU
    )
    cuda_memory_pool_byte_size: list[str] = flag(
        [], _MEMORY, "CUDA memory.", no_effect=NO_GPU, metavar="<device>:<bytes>"
    )
    cuda_virtual_address_size: list[str] = flag(
        [], _MEMORY, "CUDA address space.", no_effect=NO_GPU, metavar="<device>:<bytes>"
    )
    min_supported_compute_capability: float = flag(
        0.0, _MEMORY, "Oldest GPU to use.", no_effect=NO_GPU
    )
    buffer_manager_thread_count: int = flag(
        0,
        _MEMORY,
        "Threads that copy tensors.",
        no_effect="tensors are assembled by the instances' threads",
    )
    host_policy: list[str] = flag(
        [],
        _MEMORY,
        "Cores (cpu-cores=0-3,8) and NUMA node of the memory (numa-node=0) of the instances that "
        "have this policy. May be given several times.",
        metavar="<policy>,<setting>=<value>",
    )
    model_load_gpu_limit: list[str] = flag(
        [],
        _MEMORY,
        "GPU memory that models may fill.",
        no_effect=NO_GPU,
        metavar="<device>:<fraction>",
    )
    allow_client_shm: bool = flag(
        False, "Shared Memory", "Let clients register shared memory.", unsupported=LATER
    )

    strict_model_config: bool = flag(
        False, "DEPRECATED", "true is --disable-auto-complete-config.", deprecated=True
    )
    response_cache_byte_size: int = flag(
        0,
        "DEPRECATED",
        "The same as --cache-config=local,size=BYTES; 0 is no cache.",
        minimum=0,
        deprecated=True,
    )
    trace_file: str = flag("", "DEPRECATED", "Tracing.", unsupported=LATER, deprecated=True)
    trace_level: list[str] = flag(
        [],
        "DEPRECATED",
        "Tracing.",
        unsupported=LATER,
        deprecated=True,
        choices=("OFF", "TIMESTAMPS", "TENSORS"),
    )
    trace_rate: int = flag(1000, "DEPRECATED", "Tracing.", no_effect=LATER, deprecated=True)
    trace_count: int = flag(-1, "DEPRECATED", "Tracing.", no_effect=LATER, deprecated=True)
    trace_log_frequency: int = flag(0, "DEPRECATED", "Tracing.", no_effect=LATER, deprecated=True)

    warnings: list[str] = field(default_factory=list)

    @property
    def metrics_listen_address(self) -> str:
        """Where metrics listen: --metrics-address, else --http-address."""
        return self.metrics_address or self.http_address

    @property
    def auto_complete_config(self) -> bool:
        """False when either flag asks for configurations as they are written."""
        return not (self.disable_auto_complete_config or self.strict_model_config)


def backend_settings(options: Options) -> dict[str, dict[str, str]]:
    """--backend-config by backend name; "" holds the settings of all backends."""
    settings: dict[str, dict[str, str]] = {"": {}}
    for setting in options.backend_config:
        left, _, value = setting.partition("=")
        backend, _, key = left.rpartition(",")
        settings.setdefault(backend, {})[key] = value
    return settings
