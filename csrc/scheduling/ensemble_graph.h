// The dataflow of an ensemble: which step writes each ensemble tensor and which steps read it. Pure
// data made from the configuration when the ensemble is loaded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "inference/model_spec.h"
#include "inference/request.h"

namespace fastserve {

// Immutable. Invariants: 1. the steps form no cycle; 2. every tensor is an input of the ensemble or
// is written by exactly one step, never both; 3. every output of the ensemble is such a tensor.
class EnsembleGraph {
 public:
  // A member's input or output and the ensemble tensor it stands for.
  struct Port {
    std::string member_name;
    std::size_t tensor = 0;
  };
  struct Step {
    std::string model_name;
    std::int64_t model_version = -1;
    std::vector<Port> inputs;
    std::vector<Port> outputs;
  };
  struct TensorNode {
    std::string name;
    std::optional<std::size_t> producer;  // the step; nullopt for an input of the ensemble
    std::vector<std::size_t> consumers;   // a step that reads it twice is there twice
    const TensorSpec* input = nullptr;    // of the ensemble, else null
    const TensorSpec* output = nullptr;
  };

  // `spec` outlives the graph. Errors: InvalidArgument that names the step and what is wrong.
  static Result<EnsembleGraph> Create(const ModelSpec& spec);

  const std::vector<Step>& steps() const { return steps_; }
  const std::vector<TensorNode>& tensors() const { return tensors_; }
  // nullopt when there is none of that name.
  std::optional<std::size_t> FindTensorIndex(std::string_view name) const;
  // "step 2 (model 'M')"
  std::string StepName(std::size_t step) const;
  // "in ensemble 'E', step 2 (model 'M')", the beginning of an error.
  std::string StepPlace(std::size_t step) const;

  // Which steps a request for these outputs runs (empty: all outputs, so all steps): those are left
  // out that only lead to outputs nobody asked for.
  std::vector<bool> StepsFor(const std::vector<RequestedOutput>& requested) const;

 private:
  EnsembleGraph() = default;
  std::size_t TensorIndex(const std::string& name);
  Status AddStep(const ModelSpec& spec, const EnsembleStepSpec& step);
  Status AddOutput(std::size_t step, const std::string& member_name, const std::string& tensor);
  Status CheckTensors() const;
  Status CheckNoCycle() const;
  // Of the given steps that wait for each other: "step 1 (model 'a') -> ... -> step 1 (model 'a')".
  std::string DescribeCycle(const std::vector<bool>& waiting) const;
  // By tensor: the steps that read it, and the client where it asked for it.
  std::vector<std::size_t> CountReaders(const std::vector<RequestedOutput>& requested) const;

  std::string ensemble_name_;
  std::vector<Step> steps_;
  std::vector<TensorNode> tensors_;
  std::map<std::string, std::size_t, std::less<>> index_;  // of tensors_, by name
};

}  // namespace fastserve
