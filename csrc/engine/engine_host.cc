#include "engine/engine_host.h"

#include <utility>

#include "engine/engine.h"
#include "scheduling/lender.h"

namespace fastserve {

namespace {

// Not OK for a decoupled model where one response is expected. What is wrong with the name, Submit
// says.
Status CheckDecoupled(const Engine& engine, const InferRequest& request) {
  const auto spec = engine.FindModel(request.model_name, request.model_version);
  if (!spec.ok() || !(*spec)->decoupled) return Status::Ok();
  return Status::Unsupported("model '" + request.model_name +
                             "' is decoupled, it may send several responses: call it with "
                             "exec(decoupled=True) or async_exec(decoupled=True)");
}

// While a call is under way its caller's execution lends its resources; the last response waits
// until it has them back, so that the model never goes on without.
class LendingSink final : public ResponseSink {
 public:
  LendingSink(std::shared_ptr<ResponseSink> sink, std::shared_ptr<ExecutionResources> resources)
      : sink_(std::move(sink)), resources_(std::move(resources)) {}

  void OnResponse(const RequestPtr& request, InferResponse response, bool final) override {
    if (!final) return sink_->OnResponse(request, std::move(response), false);
    // std::function wants to copy what it holds.
    auto last = std::make_shared<InferResponse>(std::move(response));
    resources_->TakeBack(
        [sink = sink_, request, last] { sink->OnResponse(request, std::move(*last), true); });
  }
  bool congested() const override { return sink_->congested(); }
  std::string_view decoupled_refusal() const override { return sink_->decoupled_refusal(); }

 private:
  const std::shared_ptr<ResponseSink> sink_;
  const std::shared_ptr<ExecutionResources> resources_;
};

void LendResourcesOfCaller(InferRequest* request) {
  if (request->caller == nullptr) return;
  const std::shared_ptr<ExecutionResources> resources = request->caller->execution_resources();
  if (resources == nullptr) return;
  request->sink = std::make_shared<LendingSink>(std::move(request->sink), resources);
  resources->Lend();
}

}  // namespace

Engine* EngineHost::Enter() {
  // seq_cst on both sides (here and in Detach): either Detach sees the count, or this the null.
  inside_.Add();
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return engine_.load(std::memory_order_seq_cst);
}

void EngineHost::Detach() {
  engine_.store(nullptr, std::memory_order_seq_cst);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  inside_.WaitForNone(/*timeout_ns=*/-1);
}

void EngineHost::SetControlHandler(ControlHandler handler) {
  const MutexLock lock(mutex_);
  control_ = std::move(handler);
}

void EngineHost::Submit(const RequestPtr& request, bool allow_decoupled) {
  Engine* const engine = Enter();
  Status refusal;
  if (engine == nullptr) {
    refusal = Status::Unavailable("Server is stopping, model '" + request->model_name +
                                  "' accepts no new inference requests");
  } else if (!allow_decoupled) {
    refusal = CheckDecoupled(*engine, *request);
  }
  LendResourcesOfCaller(request.get());
  if (refusal.ok()) {
    // This thread has read the call; a cheap model runs on it.
    Lender lender;
    engine->Submit(request, &lender);
    lender.Run();
  } else {
    request->Fail(std::move(refusal), FailureReason::kRejected);
  }
  Leave();
}

void EngineHost::Control(std::string call, std::function<void(std::string)> done) {
  ControlHandler handler;
  {
    const MutexLock lock(mutex_);
    handler = control_;
  }
  Engine* const engine = Enter();
  if (engine != nullptr && handler) {
    handler(std::move(call), std::move(done));
  } else {
    done(R"({"error":[5,"this server does not let models control it"],"value":null})");
  }
  Leave();
}

}  // namespace fastserve
