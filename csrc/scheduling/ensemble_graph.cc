#include "scheduling/ensemble_graph.h"

#include <algorithm>
#include <utility>

namespace fastserve {

Result<EnsembleGraph> EnsembleGraph::Create(const ModelSpec& spec) {
  EnsembleGraph graph;
  graph.ensemble_name_ = spec.name;
  if (spec.ensemble.steps.empty()) {
    return Status::InvalidArgument("ensemble '" + spec.name +
                                   "' has no step; write ensemble_scheduling { step [ ... ] }");
  }
  for (const TensorSpec& input : spec.inputs)
    graph.tensors_[graph.TensorIndex(input.name)].input = &input;
  for (const TensorSpec& output : spec.outputs)
    graph.tensors_[graph.TensorIndex(output.name)].output = &output;
  for (const EnsembleStepSpec& step : spec.ensemble.steps) {
    FASTSERVE_RETURN_IF_ERROR(graph.AddStep(spec, step));
  }
  FASTSERVE_RETURN_IF_ERROR(graph.CheckTensors());
  FASTSERVE_RETURN_IF_ERROR(graph.CheckNoCycle());
  return graph;
}

std::optional<std::size_t> EnsembleGraph::FindTensorIndex(std::string_view name) const {
  const auto found = index_.find(name);
  if (found == index_.end()) return std::nullopt;
  return found->second;
}

std::size_t EnsembleGraph::TensorIndex(const std::string& name) {
  const auto [entry, is_new] = index_.try_emplace(name, tensors_.size());
  if (is_new) tensors_.push_back({name, std::nullopt, {}, nullptr, nullptr});
  return entry->second;
}

std::string EnsembleGraph::StepName(std::size_t step) const {
  return "step " + std::to_string(step + 1) + " (model '" + steps_[step].model_name + "')";
}

std::string EnsembleGraph::StepPlace(std::size_t step) const {
  return "in ensemble '" + ensemble_name_ + "', " + StepName(step);
}

Status EnsembleGraph::AddStep(const ModelSpec& spec, const EnsembleStepSpec& step) {
  const std::size_t index = steps_.size();
  steps_.push_back({step.model_name, step.model_version, {}, {}});
  if (step.model_name == spec.name) {
    return Status::InvalidArgument(StepPlace(index) + ": an ensemble cannot be a step of itself");
  }
  for (const auto& [member_name, tensor] : step.input_map) {
    const std::size_t read = TensorIndex(tensor);
    steps_[index].inputs.push_back({member_name, read});
    tensors_[read].consumers.push_back(index);
  }
  for (const auto& [member_name, tensor] : step.output_map) {
    FASTSERVE_RETURN_IF_ERROR(AddOutput(index, member_name, tensor));
  }
  if (steps_[index].inputs.empty() || steps_[index].outputs.empty()) {
    return Status::InvalidArgument(StepPlace(index) + ": write an input_map and an output_map");
  }
  return Status::Ok();
}

Status EnsembleGraph::AddOutput(std::size_t step, const std::string& member_name,
                                const std::string& tensor) {
  TensorNode& written = tensors_[TensorIndex(tensor)];
  if (written.input != nullptr) {
    return Status::InvalidArgument(StepPlace(step) + ": output '" + member_name +
                                   "' is mapped to ensemble tensor '" + tensor +
                                   "', which is an input of the ensemble");
  }
  if (written.producer) {
    const std::string other =
        *written.producer == step ? "already" : "by " + StepName(*written.producer);
    return Status::InvalidArgument(StepPlace(step) + ": output '" + member_name +
                                   "' is mapped to ensemble tensor '" + tensor +
                                   "', which is written " + other);
  }
  written.producer = step;
  steps_[step].outputs.push_back({member_name, TensorIndex(tensor)});
  return Status::Ok();
}

Status EnsembleGraph::CheckTensors() const {
  for (const TensorNode& tensor : tensors_) {
    if (tensor.input != nullptr || tensor.producer) continue;
    if (tensor.consumers.empty()) {
      return Status::InvalidArgument("in ensemble '" + ensemble_name_ + "', output '" +
                                     tensor.name + "' is written by no step; map an output to it");
    }
    return Status::InvalidArgument(StepPlace(tensor.consumers.front()) +
                                   " reads ensemble tensor '" + tensor.name +
                                   "', which no step writes and which is no input of the ensemble");
  }
  return Status::Ok();
}

// Takes steps away whose inputs are written until none is left, or those of a cycle.
Status EnsembleGraph::CheckNoCycle() const {
  std::vector<std::size_t> unwritten(steps_.size(), 0);
  std::vector<std::size_t> runnable;
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    unwritten[i] =
        static_cast<std::size_t>(std::ranges::count_if(steps_[i].inputs, [&](const Port& port) {
          return tensors_[port.tensor].producer.has_value();
        }));
    if (unwritten[i] == 0) runnable.push_back(i);
  }
  std::vector<bool> waiting(steps_.size(), true);
  while (!runnable.empty()) {
    const std::size_t step = runnable.back();
    runnable.pop_back();
    waiting[step] = false;
    for (const Port& output : steps_[step].outputs) {
      for (const std::size_t consumer : tensors_[output.tensor].consumers) {
        if (--unwritten[consumer] == 0) runnable.push_back(consumer);
      }
    }
  }
  if (std::ranges::find(waiting, true) == waiting.end()) return Status::Ok();
  return Status::InvalidArgument("in ensemble '" + ensemble_name_ +
                                 "', steps wait for each other: " + DescribeCycle(waiting));
}

std::string EnsembleGraph::DescribeCycle(const std::vector<bool>& waiting) const {
  // Every waiting step reads a tensor of another one: going back from any ends in the cycle.
  const auto writer_before = [&](std::size_t step) {
    for (const Port& input : steps_[step].inputs) {
      const auto producer = tensors_[input.tensor].producer;
      if (producer && waiting[*producer]) return *producer;
    }
    return step;
  };
  std::vector<std::size_t> path{
      static_cast<std::size_t>(std::ranges::find(waiting, true) - waiting.begin())};
  for (bool closed = false; !closed;) {
    const std::size_t previous = writer_before(path.back());
    const auto seen = std::ranges::find(path, previous);
    closed = seen != path.end();
    if (closed) path.erase(path.begin(), seen);
    path.push_back(previous);
  }
  std::string text;
  for (auto step = path.rbegin(); step != path.rend(); ++step)
    text += (text.empty() ? "" : " -> ") + StepName(*step);
  return text;
}

std::vector<std::size_t> EnsembleGraph::CountReaders(
    const std::vector<RequestedOutput>& requested) const {
  std::vector<std::size_t> readers;
  for (const TensorNode& tensor : tensors_) {
    const bool asked =
        tensor.output != nullptr &&
        std::ranges::find(requested, tensor.name, &RequestedOutput::name) != requested.end();
    readers.push_back(tensor.consumers.size() + (asked ? 1 : 0));
  }
  return readers;
}

// Backward from the outputs that nobody asked for: a tensor without a reader is not needed, nor is
// a step of which no output is needed. A step whose output was never read by design still runs.
std::vector<bool> EnsembleGraph::StepsFor(const std::vector<RequestedOutput>& requested) const {
  std::vector<bool> needed(steps_.size(), true);
  if (requested.empty()) return needed;
  std::vector<std::size_t> readers = CountReaders(requested);
  std::vector<std::size_t> unread;
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    if (tensors_[i].output != nullptr && readers[i] == 0) unread.push_back(i);
  }
  std::vector<std::size_t> read_outputs;
  for (const Step& step : steps_) read_outputs.push_back(step.outputs.size());
  while (!unread.empty()) {
    const auto producer = tensors_[unread.back()].producer;
    unread.pop_back();
    if (!producer || --read_outputs[*producer] != 0) continue;
    needed[*producer] = false;
    for (const Port& input : steps_[*producer].inputs) {
      if (--readers[input.tensor] == 0) unread.push_back(input.tensor);
    }
  }
  return needed;
}

}  // namespace fastserve
