#include "inference/model_spec.h"

#include <algorithm>
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

}  // namespace

const TensorSpec* FindTensor(const std::vector<TensorSpec>& tensors, std::string_view name) {
  const auto found = std::ranges::find(tensors, name, &TensorSpec::name);
  return found == tensors.end() ? nullptr : &*found;
}

std::vector<TensorSpec> BackendInputs(const ModelSpec& spec) {
  std::vector<TensorSpec> tensors = spec.inputs;
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
