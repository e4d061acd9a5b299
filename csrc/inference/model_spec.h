// What the core knows of a model: plain structs, resolved and validated by the control plane
// (python/fastserve/config). Immutable once the model is loaded; shared by shared_ptr<const
// ModelSpec>.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "concurrency/host_policy.h"
#include "inference/batch_io_spec.h"
#include "inference/data_type.h"
#include "inference/ensemble_spec.h"
#include "inference/sequence_spec.h"
#include "inference/shape.h"

namespace fastserve {

struct TensorSpec {
  std::string name;
  DataType type = DataType::kInvalid;
  // Dimensions as configured, without the batch dimension; -1 is variable.
  Shape dims;
  // Shape the backend sees instead of dims (config `reshape`), without the batch dimension.
  bool has_reshape = false;
  Shape reshape;
  bool optional = false;  // inputs
  // Inputs: requests of different shapes share batches, and the backend sees the elements of all
  // requests behind one another in a tensor of one dimension, also of a single request.
  bool allow_ragged_batch = false;
  std::vector<std::string>
      labels;  // outputs: lines of label_filename, for the classification extension
};

enum class TimeoutAction : std::uint8_t { kReject, kDelay };

// Triton's ModelQueuePolicy. Times in microseconds; 0 = none.
struct QueuePolicySpec {
  TimeoutAction timeout_action = TimeoutAction::kReject;
  std::uint64_t default_timeout_us = 0;
  bool allow_timeout_override = false;
  std::uint32_t max_queue_size = 0;  // 0 = unbounded
};

struct DynamicBatchingSpec {
  bool enabled = false;
  // Neither preferred sizes nor a delay are configured: sizes and waits follow from measurements.
  bool self_tuning = false;
  std::vector<std::int64_t> preferred_batch_sizes;
  std::uint64_t max_queue_delay_us = 0;
  bool preserve_ordering = false;
  std::uint32_t priority_levels = 0;
  std::uint32_t default_priority_level = 0;
  QueuePolicySpec default_queue_policy;
  std::map<std::uint32_t, QueuePolicySpec> priority_queue_policy;
};

// What one execution of an instance needs of a resource (rate limiter).
struct ResourceSpec {
  std::string name;
  bool global = false;  // shared by all devices
  std::uint32_t count = 0;
};

struct InstanceGroupSpec {
  std::string name;
  int count = 1;
  bool passive = false;  // loaded, never given requests
  std::vector<ResourceSpec> resources;
  std::uint32_t rate_limiter_priority = 1;  // 2 gets half of the turns of 1
  HostPolicy host_policy;                   // empty: none
};

// One input of a warm-up sample, one row of it.
struct WarmupInputSpec {
  enum class Source : std::uint8_t { kZero, kRandom, kFile };
  std::string name;
  DataType type = DataType::kInvalid;
  Shape dims;  // without the batch dimension
  Source source = Source::kZero;
  std::string path;  // kFile: the row's bytes
};

// Triton's ModelWarmup.
struct WarmupSpec {
  std::string name;
  std::int64_t batch_size = 1;  // the row is repeated so often
  std::uint32_t count = 1;      // executions on each instance
  std::vector<WarmupInputSpec> inputs;
};

// How the worker process of a Python model is started, where it differs from the backend's options
// (docs/design/005-python-backend.md).
struct WorkerSpec {
  std::string interpreter;                         // EXECUTION_ENV_PATH's; empty: the backend's
  std::vector<std::string> python_path;            // folders before the worker's own sys.path
  std::map<std::string, std::string> environment;  // added to the server's
};

struct ModelSpec {
  std::string name;
  std::int64_t version = 1;
  std::string backend;     // "onnxruntime", "identity"; empty for an ensemble
  std::string platform;    // as reported by metadata, e.g. "onnxruntime_onnx"
  std::string path;        // the model file (or directory) the backend opens; empty for identity
  int max_batch_size = 0;  // 0: the model does not batch; dims are the full shape
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;
  std::vector<BatchInputSpec> batch_inputs;
  std::vector<BatchOutputSpec> batch_outputs;
  DynamicBatchingSpec dynamic_batching;
  SequenceBatchingSpec sequence_batching;
  EnsembleSpec ensemble;  // enabled: the model has no backend and no instances
  std::vector<InstanceGroupSpec> instance_groups;
  std::vector<WarmupSpec> warmup;
  bool decoupled = false;
  bool response_cache = false;  // config `response_cache { enable: true }`
  // Changes with the model's files and configuration, the same on every server; set when responses
  // are shared between servers.
  std::string cache_fingerprint;
  // config `parameters`, string values.
  std::map<std::string, std::string> parameters;
  // --backend-config of this backend, merged with the global ones.
  std::map<std::string, std::string> backend_config;
  // Extra metric labels (config `metric_tags`).
  std::map<std::string, std::string> metric_tags;
  // Upper bounds of nv_inference_first_response_histogram_ms (config `model_metrics`); empty: the
  // usual ones.
  std::vector<double> first_response_buckets_ms;
  // optimization.graph.level as Triton's ONNX Runtime backend reads it: -1 basic, 0 all, 1
  // extended, 2 none.
  int graph_optimization_level = 0;
  // The configuration as JSON text, as the model is told it; empty: not known.
  std::string config_json;
  // The folders of the model and of the version; empty: those that `path` lies in.
  std::string model_directory;
  std::string version_directory;
  WorkerSpec worker;
};

// The host policy of an instance group; null: it has none.
const HostPolicy* HostPolicyOf(const InstanceGroupSpec& group);
// That of all instance groups; null: they have none, or different ones. What the groups share (an
// ONNX Runtime session) can follow only this one.
const HostPolicy* CommonHostPolicy(const ModelSpec& spec);

const TensorSpec* FindTensor(const std::vector<TensorSpec>& tensors, std::string_view name);

// Replaces the configured shape by the one the other side expects, behind the batch dimension if
// there is one.
void ApplyReshape(const TensorSpec& spec, bool to_backend, bool batching, Shape* shape);

// Null for an output that is split by rows.
const BatchOutputSpec* FindBatchOutput(const ModelSpec& spec, std::string_view name);
// The names of the inputs whose shapes need not agree within a batch.
std::vector<std::string> RaggedInputs(const ModelSpec& spec);

// The tensors as the backend sees them: the clients', then the batch inputs, and the control and
// state tensors that a sequence model has besides. A batch input of one dimension is marked
// `allow_ragged_batch`, as it has no batch dimension either.
std::vector<TensorSpec> BackendInputs(const ModelSpec& spec);
std::vector<TensorSpec> BackendOutputs(const ModelSpec& spec);

}  // namespace fastserve
