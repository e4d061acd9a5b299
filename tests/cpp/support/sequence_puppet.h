// A backend for sequence models that the test drives: it computes with a function of the test,
// waits where told to, and remembers what it was given.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "support/requests.h"

namespace fastserve {

// What the instances of one puppet share with the test. Thread safe.
class SequenceStrings {
 public:
  struct Seen {
    std::size_t instance = 0;
    std::vector<std::string> request_ids;  // "" for a row without a request
    std::vector<Tensor> inputs;

    const Tensor& input(std::string_view name) const {
      for (const Tensor& tensor : inputs) {
        if (tensor.name == name) return tensor;
      }
      throw std::out_of_range("no input " + std::string(name));
    }
  };
  using Compute = std::function<Status(Execution*)>;

  // The default echoes X.
  void ComputeWith(Compute compute) {
    const std::lock_guard lock(mutex_);
    compute_ = std::move(compute);
  }
  // Executions from now on wait for Release.
  void Hold() {
    const std::lock_guard lock(mutex_);
    held_ = true;
  }
  void Release() {
    const std::lock_guard lock(mutex_);
    held_ = false;
    changed_.notify_all();
  }
  // Blocks until `count` executions have begun, and returns all.
  std::vector<Seen> AwaitStarted(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return seen_.size() >= count; });
    return seen_;
  }
  std::vector<Seen> seen() { return AwaitStarted(0); }

  Status OnExecute(std::size_t instance, Execution* execution) {
    Compute compute;
    {
      std::unique_lock lock(mutex_);
      Seen& seen = seen_.emplace_back();
      seen.instance = instance;
      for (const RequestPtr& request : execution->requests) seen.request_ids.push_back(request->id);
      seen.inputs = execution->inputs;
      changed_.notify_all();
      changed_.wait(lock, [&] { return !held_; });
      compute = compute_;
    }
    return compute(execution);
  }

 private:
  static Status Echo(Execution* execution) {
    execution->outputs.push_back(execution->inputs.front());
    return Status::Ok();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool held_ = false;
  Compute compute_ = &Echo;
  std::vector<Seen> seen_;
};

class SequenceInstance final : public BackendInstance {
 public:
  SequenceInstance(std::shared_ptr<SequenceStrings> strings, std::size_t index)
      : strings_(std::move(strings)), index_(index) {}

  void Execute(Execution* execution, ExecutionObserver* observer) override {
    Status status = strings_->OnExecute(index_, execution);
    observer->OnExecuted(execution, std::move(status));
  }

 private:
  const std::shared_ptr<SequenceStrings> strings_;
  const std::size_t index_;
};

// MakeSpec's model with sequence batching.
inline std::shared_ptr<ModelSpec> MakeSequenceSpec(int max_batch_size) {
  auto spec = MakeSpec("puppet", max_batch_size);
  spec->dynamic_batching.enabled = false;
  spec->sequence_batching.enabled = true;
  spec->sequence_batching.max_candidate_sequences = 4;
  return spec;
}

// Adds up X over a sequence: the state "in" [1] becomes "out", and X is answered with the sum.
inline void MakeAccumulator(ModelSpec* spec) {
  StateSpec state;
  state.input_name = "in";
  state.output_name = "out";
  state.type = DataType::kFp32;
  state.dims = state.initial_dims = MakeShape({1});
  spec->sequence_batching.states.push_back(state);
  spec->inputs[0].dims = spec->outputs[0].dims = MakeShape({1});
}
inline Status Accumulate(Execution* execution) {
  std::vector<float> sums = FloatsOf(execution->inputs[0]);
  const Tensor& state = execution->inputs.back();
  const std::vector<float> before = FloatsOf(state);
  for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += before[i];
  execution->outputs.push_back({"X", DataType::kFp32, state.shape, ViewOfFloats(sums)});
  execution->outputs.push_back({"out", DataType::kFp32, state.shape, ViewOfFloats(sums)});
  return Status::Ok();
}

}  // namespace fastserve
