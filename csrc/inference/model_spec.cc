#include "inference/model_spec.h"

#include <algorithm>
#include <span>
#include <utility>

namespace fastserve {

namespace {

TensorSpec MakeTensor(const std::string& name, DataType type, Shape dims) {
  TensorSpec tensor;
  tensor.name = name;
  tensor.type = type;
  tensor.dims = std::move(dims);
  return tensor;
}

TensorSpec MakeBatchInput(const ModelSpec& spec, const BatchInputSpec& batch_input) {
  TensorSpec tensor = MakeTensor(batch_input.name, batch_input.type, Shape(1, -1));
  tensor.allow_ragged_batch = batch_input.kind != BatchInputKind::kItemShape;
  const TensorSpec* source = FindTensor(spec.inputs, batch_input.source_input);
  if (!tensor.allow_ragged_batch && source != nullptr) {
    const Shape& dims = source->has_reshape ? source->reshape : source->dims;
    tensor.dims[0] = static_cast<std::int64_t>(dims.size());
  }
  return tensor;
}

}  // namespace

void ApplyReshape(const TensorSpec& spec, bool to_backend, bool batching, Shape* shape) {
  if (!spec.has_reshape) return;
  const std::size_t batch_dims = batching ? 1 : 0;
  if (shape->size() < batch_dims) return;
  const Shape& from = to_backend ? spec.dims : spec.reshape;
  const Shape& to = to_backend ? spec.reshape : spec.dims;
  const std::span<const std::int64_t> actual(shape->data() + batch_dims,
                                             shape->size() - batch_dims);
  Shape mapped = MapReshape(from, to, actual);
  if (batching) mapped.insert(mapped.begin(), shape->front());
  *shape = std::move(mapped);
}

const HostPolicy* HostPolicyOf(const InstanceGroupSpec& group) {
  return group.host_policy.empty() ? nullptr : &group.host_policy;
}

const HostPolicy* CommonHostPolicy(const ModelSpec& spec) {
  if (spec.instance_groups.empty()) return nullptr;
  const HostPolicy& first = spec.instance_groups.front().host_policy;
  const bool alike = std::ranges::all_of(spec.instance_groups, [&](const InstanceGroupSpec& group) {
    return group.host_policy == first;
  });
  return alike ? HostPolicyOf(spec.instance_groups.front()) : nullptr;
}

const TensorSpec* FindTensor(const std::vector<TensorSpec>& tensors, std::string_view name) {
  const auto found = std::ranges::find(tensors, name, &TensorSpec::name);
  return found == tensors.end() ? nullptr : &*found;
}

const BatchOutputSpec* FindBatchOutput(const ModelSpec& spec, std::string_view name) {
  const auto found = std::ranges::find(spec.batch_outputs, name, &BatchOutputSpec::name);
  return found == spec.batch_outputs.end() ? nullptr : &*found;
}

std::vector<std::string> RaggedInputs(const ModelSpec& spec) {
  std::vector<std::string> names;
  for (const TensorSpec& input : spec.inputs) {
    if (input.allow_ragged_batch) names.push_back(input.name);
  }
  return names;
}

std::vector<TensorSpec> BackendInputs(const ModelSpec& spec) {
  std::vector<TensorSpec> tensors = spec.inputs;
  for (const BatchInputSpec& batch_input : spec.batch_inputs)
    tensors.push_back(MakeBatchInput(spec, batch_input));
  for (const ControlSpec& control : spec.sequence_batching.controls)
    tensors.push_back(MakeTensor(control.input_name, control.type, Shape(1, 1)));
  for (const StateSpec& state : spec.sequence_batching.states)
    tensors.push_back(MakeTensor(state.input_name, state.type, state.dims));
  return tensors;
}

std::vector<TensorSpec> BackendOutputs(const ModelSpec& spec) {
  std::vector<TensorSpec> tensors = spec.outputs;
  for (const StateSpec& state : spec.sequence_batching.states) {
    // A configuration may list a state among the outputs, to show it to clients.
    if (FindTensor(spec.outputs, state.output_name) == nullptr)
      tensors.push_back(MakeTensor(state.output_name, state.type, state.dims));
  }
  return tensors;
}

}  // namespace fastserve
