// Dicts of the control plane -> ModelSpec, and model signatures -> dicts.
#include "bindings/model_spec_bindings.h"

#include <pybind11/stl.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "bindings/bindings.h"

namespace fastserve {

namespace py = pybind11;

namespace {

// *target = values[key], where the key is present.
template <typename T>
void Read(const py::dict& values, const char* key, T* target) {
  if (values.contains(key)) *target = values[key].cast<T>();
}

Shape ReadShape(const py::handle& dims) {
  const auto values = dims.cast<std::vector<std::int64_t>>();
  return Shape(values.begin(), values.end());
}

DataType ReadDataType(const py::dict& values, const std::string& tensor_name) {
  const auto type_name = values["type"].cast<std::string>();
  const auto type = ParseDataType(type_name);
  if (!type) {
    ThrowIfError(Status::InvalidArgument("tensor '" + tensor_name + "' has unknown data type '" +
                                         type_name + "'"));
  }
  return *type;
}

TensorSpec ReadTensor(const py::dict& values) {
  TensorSpec tensor;
  Read(values, "name", &tensor.name);
  tensor.type = ReadDataType(values, tensor.name);
  tensor.dims = ReadShape(values["dims"]);
  if (values.contains("reshape") && !values["reshape"].is_none()) {
    tensor.has_reshape = true;
    tensor.reshape = ReadShape(values["reshape"]);
  }
  Read(values, "optional", &tensor.optional);
  Read(values, "allow_ragged_batch", &tensor.allow_ragged_batch);
  Read(values, "labels", &tensor.labels);
  return tensor;
}

std::vector<TensorSpec> ReadTensors(const py::dict& values, const char* key) {
  std::vector<TensorSpec> tensors;
  if (!values.contains(key)) return tensors;
  for (const py::handle item : values[key]) tensors.push_back(ReadTensor(item.cast<py::dict>()));
  return tensors;
}

std::vector<BatchInputSpec> ReadBatchInputs(const py::dict& values) {
  static const std::map<std::string, BatchInputKind> kKinds = {
      {"BATCH_ELEMENT_COUNT", BatchInputKind::kElementCount},
      {"BATCH_ACCUMULATED_ELEMENT_COUNT", BatchInputKind::kAccumulatedElementCount},
      {"BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO",
       BatchInputKind::kAccumulatedElementCountWithZero},
      {"BATCH_MAX_ELEMENT_COUNT_AS_SHAPE", BatchInputKind::kMaxElementCountAsShape},
      {"BATCH_ITEM_SHAPE", BatchInputKind::kItemShape},
      {"BATCH_ITEM_SHAPE_FLATTEN", BatchInputKind::kItemShapeFlatten}};
  std::vector<BatchInputSpec> batch_inputs;
  for (const py::handle item : values.attr("get")("batch_inputs", py::tuple())) {
    const auto entry = item.cast<py::dict>();
    BatchInputSpec& batch_input = batch_inputs.emplace_back();
    Read(entry, "name", &batch_input.name);
    batch_input.kind = kKinds.at(entry["kind"].cast<std::string>());
    batch_input.type = ReadDataType(entry, batch_input.name);
    Read(entry, "source_input", &batch_input.source_input);
  }
  return batch_inputs;
}

std::vector<BatchOutputSpec> ReadBatchOutputs(const py::dict& values) {
  std::vector<BatchOutputSpec> batch_outputs;
  for (const py::handle item : values.attr("get")("batch_outputs", py::tuple())) {
    const auto entry = item.cast<py::dict>();
    BatchOutputSpec& batch_output = batch_outputs.emplace_back();
    Read(entry, "name", &batch_output.name);
    Read(entry, "source_input", &batch_output.source_input);
  }
  return batch_outputs;
}

QueuePolicySpec ReadQueuePolicy(const py::dict& values) {
  QueuePolicySpec policy;
  bool delay = false;
  Read(values, "delay", &delay);
  policy.timeout_action = delay ? TimeoutAction::kDelay : TimeoutAction::kReject;
  Read(values, "default_timeout_us", &policy.default_timeout_us);
  Read(values, "allow_timeout_override", &policy.allow_timeout_override);
  Read(values, "max_queue_size", &policy.max_queue_size);
  return policy;
}

DynamicBatchingSpec ReadDynamicBatching(const py::dict& values) {
  DynamicBatchingSpec batching;
  batching.enabled = true;
  Read(values, "self_tuning", &batching.self_tuning);
  Read(values, "preferred_batch_sizes", &batching.preferred_batch_sizes);
  Read(values, "max_queue_delay_us", &batching.max_queue_delay_us);
  Read(values, "preserve_ordering", &batching.preserve_ordering);
  Read(values, "priority_levels", &batching.priority_levels);
  Read(values, "default_priority_level", &batching.default_priority_level);
  if (values.contains("default_queue_policy")) {
    batching.default_queue_policy =
        ReadQueuePolicy(values["default_queue_policy"].cast<py::dict>());
  }
  if (values.contains("priority_queue_policy")) {
    for (const auto& [level, policy] : values["priority_queue_policy"].cast<py::dict>()) {
      batching.priority_queue_policy[level.cast<std::uint32_t>()] =
          ReadQueuePolicy(policy.cast<py::dict>());
    }
  }
  return batching;
}

ControlSpec ReadControl(const py::dict& values) {
  static const std::map<std::string, ControlKind> kKinds = {
      {"START", ControlKind::kStart},
      {"READY", ControlKind::kReady},
      {"END", ControlKind::kEnd},
      {"CORRID", ControlKind::kCorrelationId}};
  ControlSpec control;
  Read(values, "input_name", &control.input_name);
  control.kind = kKinds.at(values["kind"].cast<std::string>());
  control.type = ReadDataType(values, control.input_name);
  Read(values, "false_value", &control.false_value);
  Read(values, "true_value", &control.true_value);
  return control;
}

StateSpec ReadState(const py::dict& values) {
  StateSpec state;
  Read(values, "input_name", &state.input_name);
  Read(values, "output_name", &state.output_name);
  state.type = ReadDataType(values, state.input_name);
  state.dims = ReadShape(values["dims"]);
  state.initial_dims = ReadShape(values["initial_dims"]);
  state.initial_data = values["initial_data"].cast<std::string>();
  return state;
}

SequenceBatchingSpec ReadSequenceBatching(const py::dict& values) {
  SequenceBatchingSpec batching;
  batching.enabled = true;
  bool oldest = false;
  Read(values, "oldest", &oldest);
  batching.strategy = oldest ? SequenceStrategy::kOldest : SequenceStrategy::kDirect;
  Read(values, "max_sequence_idle_us", &batching.max_sequence_idle_us);
  Read(values, "max_queue_delay_us", &batching.max_queue_delay_us);
  Read(values, "minimum_slot_utilization", &batching.minimum_slot_utilization);
  Read(values, "max_candidate_sequences", &batching.max_candidate_sequences);
  Read(values, "preferred_batch_sizes", &batching.preferred_batch_sizes);
  Read(values, "iterative", &batching.iterative);
  for (const py::handle control : values["controls"])
    batching.controls.push_back(ReadControl(control.cast<py::dict>()));
  for (const py::handle state : values["states"])
    batching.states.push_back(ReadState(state.cast<py::dict>()));
  return batching;
}

EnsembleSpec ReadEnsemble(const py::dict& values) {
  EnsembleSpec ensemble;
  ensemble.enabled = true;
  Read(values, "max_inflight_requests", &ensemble.max_inflight_requests);
  for (const py::handle item : values["steps"]) {
    const auto step_values = item.cast<py::dict>();
    EnsembleStepSpec& step = ensemble.steps.emplace_back();
    Read(step_values, "model_name", &step.model_name);
    Read(step_values, "model_version", &step.model_version);
    Read(step_values, "input_map", &step.input_map);
    Read(step_values, "output_map", &step.output_map);
  }
  return ensemble;
}

HostPolicy ReadHostPolicy(const py::dict& values) {
  HostPolicy policy;
  Read(values, "cpu_cores", &policy.cpu_cores);
  Read(values, "numa_node", &policy.numa_node);
  return policy;
}

std::vector<InstanceGroupSpec> ReadInstanceGroups(const py::dict& values) {
  std::vector<InstanceGroupSpec> groups;
  if (!values.contains("instance_groups")) return groups;
  for (const py::handle item : values["instance_groups"]) {
    const auto group_values = item.cast<py::dict>();
    InstanceGroupSpec group;
    Read(group_values, "name", &group.name);
    Read(group_values, "count", &group.count);
    Read(group_values, "passive", &group.passive);
    Read(group_values, "rate_limiter_priority", &group.rate_limiter_priority);
    if (group_values.contains("host_policy"))
      group.host_policy = ReadHostPolicy(group_values["host_policy"].cast<py::dict>());
    for (const py::handle entry : group_values.attr("get")("resources", py::tuple())) {
      const auto [name, global, count] = entry.cast<std::tuple<std::string, bool, std::uint32_t>>();
      group.resources.push_back({name, global, count});
    }
    groups.push_back(std::move(group));
  }
  return groups;
}

WarmupInputSpec ReadWarmupInput(const py::dict& values) {
  TensorSpec tensor = ReadTensor(values);
  WarmupInputSpec input;
  input.name = std::move(tensor.name);
  input.type = tensor.type;
  input.dims = std::move(tensor.dims);
  Read(values, "path", &input.path);
  bool random = false;
  Read(values, "random", &random);
  if (!input.path.empty()) {
    input.source = WarmupInputSpec::Source::kFile;
  } else if (random) {
    input.source = WarmupInputSpec::Source::kRandom;
  }
  return input;
}

std::vector<WarmupSpec> ReadWarmup(const py::dict& values) {
  std::vector<WarmupSpec> samples;
  for (const py::handle item : values.attr("get")("warmup", py::tuple())) {
    const auto sample_values = item.cast<py::dict>();
    WarmupSpec& sample = samples.emplace_back();
    Read(sample_values, "name", &sample.name);
    Read(sample_values, "batch_size", &sample.batch_size);
    Read(sample_values, "count", &sample.count);
    for (const py::handle input : sample_values["inputs"])
      sample.inputs.push_back(ReadWarmupInput(input.cast<py::dict>()));
  }
  return samples;
}

WorkerSpec ReadWorker(const py::dict& values) {
  WorkerSpec worker;
  Read(values, "interpreter", &worker.interpreter);
  Read(values, "python_path", &worker.python_path);
  Read(values, "environment", &worker.environment);
  return worker;
}

py::list TensorsToList(const std::vector<TensorSignature>& tensors) {
  py::list result;
  for (const TensorSignature& tensor : tensors) {
    py::dict item;
    item["name"] = tensor.name;
    item["data_type"] = std::string(DataTypeName(tensor.type));
    item["dims"] = std::vector<std::int64_t>(tensor.shape.begin(), tensor.shape.end());
    item["dim_names"] = tensor.dim_names;
    result.append(item);
  }
  return result;
}

}  // namespace

std::shared_ptr<const ModelSpec> ModelSpecFromDict(const py::dict& values) {
  auto spec = std::make_shared<ModelSpec>();
  Read(values, "name", &spec->name);
  Read(values, "version", &spec->version);
  Read(values, "backend", &spec->backend);
  Read(values, "platform", &spec->platform);
  Read(values, "path", &spec->path);
  Read(values, "max_batch_size", &spec->max_batch_size);
  spec->inputs = ReadTensors(values, "inputs");
  spec->outputs = ReadTensors(values, "outputs");
  spec->batch_inputs = ReadBatchInputs(values);
  spec->batch_outputs = ReadBatchOutputs(values);
  if (values.contains("dynamic_batching") && !values["dynamic_batching"].is_none()) {
    spec->dynamic_batching = ReadDynamicBatching(values["dynamic_batching"].cast<py::dict>());
  }
  if (values.contains("sequence_batching")) {
    spec->sequence_batching = ReadSequenceBatching(values["sequence_batching"].cast<py::dict>());
  }
  if (values.contains("ensemble"))
    spec->ensemble = ReadEnsemble(values["ensemble"].cast<py::dict>());
  spec->instance_groups = ReadInstanceGroups(values);
  spec->warmup = ReadWarmup(values);
  Read(values, "decoupled", &spec->decoupled);
  Read(values, "response_cache", &spec->response_cache);
  Read(values, "cache_fingerprint", &spec->cache_fingerprint);
  Read(values, "parameters", &spec->parameters);
  Read(values, "backend_config", &spec->backend_config);
  Read(values, "metric_tags", &spec->metric_tags);
  Read(values, "first_response_buckets_ms", &spec->first_response_buckets_ms);
  Read(values, "graph_optimization_level", &spec->graph_optimization_level);
  Read(values, "config_json", &spec->config_json);
  Read(values, "model_directory", &spec->model_directory);
  Read(values, "version_directory", &spec->version_directory);
  if (values.contains("worker")) spec->worker = ReadWorker(values["worker"].cast<py::dict>());
  return spec;
}

py::dict SignatureToDict(const ModelSignature& signature) {
  py::dict result;
  result["inputs"] = TensorsToList(signature.inputs);
  result["outputs"] = TensorsToList(signature.outputs);
  return result;
}

}  // namespace fastserve
