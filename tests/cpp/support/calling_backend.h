// A backend whose models call one another while they execute, as Python models do (BLS).
#pragma once

#include <future>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "backend/backend.h"
#include "backend/inference_host.h"
#include "support/execution_thread.h"

namespace fastserve {

// Whom each model calls, by name; a model that is not listed calls nobody.
using CallGraph = std::map<std::string, std::string>;

// Lets one thread wait for the answer of one request.
class AnswerGate final : public ResponseSink {
 public:
  void OnResponse(const RequestPtr& /*request*/, InferResponse response, bool /*final*/) override {
    status_.set_value(std::move(response.status));
  }
  Status Await() { return status_.get_future().get(); }

 private:
  std::promise<Status> status_;
};

// Echoes, after the call of each request's inputs to the model's callee has been answered. As a
// worker process would, it waits for answers on a thread of its own, which runs nothing else.
class CallingInstance final : public BackendInstance {
 public:
  CallingInstance(std::shared_ptr<InferenceHost> host, std::string callee)
      : host_(std::move(host)),
        callee_(std::move(callee)),
        thread_([this](const Execution& execution) { return CallForEach(execution); }) {}
  bool never_blocks() const override { return true; }
  void Execute(Execution* execution, ExecutionObserver* observer) override {
    thread_.Add(execution, observer);
  }
  void Stop() override { thread_.Stop(); }

 private:
  Status CallForEach(const Execution& execution) {
    Status status;
    for (const RequestPtr& request : execution.requests) {
      if (!callee_.empty() && status.ok()) status = Call(request);
    }
    return status;
  }
  Status Call(const RequestPtr& caller) {
    const auto gate = std::make_shared<AnswerGate>();
    const auto call = std::make_shared<InferRequest>();
    call->model_name = callee_;
    call->inputs = caller->inputs;
    call->caller = caller;
    call->sink = gate;
    host_->Submit(call, /*allow_decoupled=*/false);
    return gate->Await();
  }

  const std::shared_ptr<InferenceHost> host_;
  const std::string callee_;
  ExecutionThread thread_;  // last: it uses the members above
};

class CallingModel final : public BackendModel {
 public:
  CallingModel(std::shared_ptr<InferenceHost> host, std::string callee)
      : host_(std::move(host)), callee_(std::move(callee)) {}
  Result<std::unique_ptr<BackendInstance>> CreateInstance(const std::string& /*name*/) override {
    return std::unique_ptr<BackendInstance>(std::make_unique<CallingInstance>(host_, callee_));
  }

 private:
  const std::shared_ptr<InferenceHost> host_;
  const std::string callee_;
};

class CallingBackend final : public Backend {
 public:
  CallingBackend(std::shared_ptr<InferenceHost> host, CallGraph graph)
      : host_(std::move(host)), graph_(std::move(graph)) {}
  std::string_view name() const override { return "calling"; }
  Result<ModelSignature> ReadSignature(const ModelSpec& /*spec*/) override {
    return Status::Unsupported("a calling model has none");
  }
  Result<std::unique_ptr<BackendModel>> LoadModel(std::shared_ptr<const ModelSpec> spec) override {
    const auto callee = graph_.find(spec->name);
    return std::unique_ptr<BackendModel>(
        std::make_unique<CallingModel>(host_, callee == graph_.end() ? "" : callee->second));
  }

 private:
  const std::shared_ptr<InferenceHost> host_;
  const CallGraph graph_;
};

}  // namespace fastserve
