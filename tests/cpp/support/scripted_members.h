// Members of an ensemble that the test plays by hand: each request waits until it is answered.
#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "scheduling/request_router.h"
#include "support/requests.h"

namespace fastserve {

inline TensorSpec MakeTensorSpec(std::string name, std::initializer_list<std::int64_t> dims = {-1},
                                 DataType type = DataType::kFp32) {
  TensorSpec tensor;
  tensor.name = std::move(name);
  tensor.type = type;
  tensor.dims = MakeShape(dims);
  return tensor;
}

// A model with the given FP32 inputs and outputs, dims [-1] behind a batch dimension.
inline std::shared_ptr<ModelSpec> MakeMemberSpec(const std::string& name,
                                                 const std::vector<std::string>& inputs,
                                                 const std::vector<std::string>& outputs) {
  auto spec = std::make_shared<ModelSpec>();
  spec->name = name;
  spec->max_batch_size = 8;
  for (const std::string& input : inputs) spec->inputs.push_back(MakeTensorSpec(input));
  for (const std::string& output : outputs) spec->outputs.push_back(MakeTensorSpec(output));
  return spec;
}

// Thread safe.
class ScriptedMember final : public RequestTarget,
                             public CancelHook,
                             public std::enable_shared_from_this<ScriptedMember> {
 public:
  explicit ScriptedMember(std::shared_ptr<const ModelSpec> spec) : spec_(std::move(spec)) {}

  const std::shared_ptr<const ModelSpec>& spec() const override { return spec_; }
  void Submit(const RequestPtr& request, Lender* /*lender*/) override {
    request->spec = spec_;
    request->SetCancelHook(shared_from_this());
    if (at_once_) return at_once_(request);
    const MutexLock lock(mutex_);
    waiting_.push_back(request);
    ++submitted_;
  }
  // A waiting request is cancelled at once, unless the member holds on to it.
  void OnCancel(const RequestPtr& request) override {
    {
      const MutexLock lock(mutex_);
      ++cancelled_;
      const auto found = std::find(waiting_.begin(), waiting_.end(), request);
      if (busy_ || found == waiting_.end()) return;
      waiting_.erase(found);
    }
    request->Fail(Status::Cancelled("cancelled in the member"), FailureReason::kCanceled);
  }

  // Answers during Submit from now on.
  void AnswerAtOnce(std::function<void(const RequestPtr&)> answer) { at_once_ = std::move(answer); }
  // Cancelling does not reach its requests: they run.
  void set_busy(bool busy) { busy_ = busy; }
  std::size_t waiting() {
    const MutexLock lock(mutex_);
    return waiting_.size();
  }
  std::size_t submitted() {
    const MutexLock lock(mutex_);
    return submitted_;
  }
  std::size_t cancelled() {
    const MutexLock lock(mutex_);
    return cancelled_;
  }
  // The oldest waiting request; it waits no longer.
  RequestPtr Take() {
    const MutexLock lock(mutex_);
    if (waiting_.empty()) return nullptr;
    RequestPtr request = std::move(waiting_.front());
    waiting_.pop_front();
    return request;
  }

 private:
  const std::shared_ptr<const ModelSpec> spec_;
  std::function<void(const RequestPtr&)> at_once_;
  bool busy_ = false;
  Mutex mutex_;
  std::deque<RequestPtr> waiting_ GUARDED_BY(mutex_);
  std::size_t submitted_ GUARDED_BY(mutex_) = 0;
  std::size_t cancelled_ GUARDED_BY(mutex_) = 0;
};

// Answers `request` with the outputs that it asks for, each [1, n] of the given values; an output
// that is not in `values` is missing in the response.
inline void AnswerWith(const RequestPtr& request,
                       const std::map<std::string, std::vector<float>>& values) {
  InferResponse response;
  for (const RequestedOutput& output : request->outputs) {
    const auto found = values.find(output.name);
    if (found == values.end()) continue;
    const auto width = static_cast<std::int64_t>(found->second.size());
    response.outputs.push_back(
        {output.name, DataType::kFp32, MakeShape({1, width}), ViewOfFloats(found->second)});
  }
  request->Respond(std::move(response), /*final=*/true);
}

// Every output asked for is the first input plus `added`.
inline void AnswerPlus(const RequestPtr& request, float added) {
  std::vector<float> values = FloatsOf(request->inputs.at(0));
  for (float& value : values) value += added;
  std::map<std::string, std::vector<float>> outputs;
  for (const RequestedOutput& output : request->outputs) outputs[output.name] = values;
  AnswerWith(request, outputs);
}

class ScriptedRouter final : public RequestRouter {
 public:
  ScriptedMember& Add(const std::shared_ptr<const ModelSpec>& spec) {
    return *(members_[spec->name] = std::make_shared<ScriptedMember>(spec));
  }
  void Remove(const std::string& name) { members_.erase(name); }
  Result<std::shared_ptr<RequestTarget>> Find(std::string_view name,
                                              std::int64_t /*version*/) const override {
    const auto found = members_.find(name);
    if (found == members_.end()) {
      return Status::NotFound("Request for unknown model: '" + std::string(name) +
                              "' is not found");
    }
    return std::shared_ptr<RequestTarget>(found->second);
  }

 private:
  std::map<std::string, std::shared_ptr<ScriptedMember>, std::less<>> members_;
};

// "A:X=in,Y=mid>Z=out": the member A reads tensor `in` as X and `mid` as Y, and writes Z as `out`.
inline EnsembleStepSpec MakeStep(const std::string& text) {
  EnsembleStepSpec step;
  const std::size_t colon = text.find(':');
  step.model_name = text.substr(0, colon);
  auto* map = &step.input_map;
  for (std::size_t begin = colon + 1; begin < text.size();) {
    const std::size_t end = std::min(text.find_first_of(",>", begin), text.size());
    const std::string pair = text.substr(begin, end - begin);
    const std::size_t equals = pair.find('=');
    if (!pair.empty()) (*map)[pair.substr(0, equals)] = pair.substr(equals + 1);
    if (end < text.size() && text[end] == '>') map = &step.output_map;
    begin = end + 1;
  }
  return step;
}

// An ensemble named "e".
inline std::shared_ptr<ModelSpec> MakeEnsembleSpec(const std::vector<std::string>& inputs,
                                                   const std::vector<std::string>& outputs,
                                                   const std::vector<std::string>& steps) {
  auto spec = MakeMemberSpec("e", inputs, outputs);
  spec->platform = "ensemble";
  spec->ensemble.enabled = true;
  for (const std::string& step : steps) spec->ensemble.steps.push_back(MakeStep(step));
  return spec;
}

}  // namespace fastserve
