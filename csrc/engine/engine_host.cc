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
