#include "inference/request.h"

#include <cstdio>
#include <cstdlib>
#include <thread>
#include <utility>

namespace fastserve {

namespace {

// A second completion is our own bug: going on would answer somebody else's request.
[[noreturn]] void AbortOnSecondCompletion(const InferRequest& request) {
  std::fprintf(stderr, "fastserve: request '%s' for model '%s' answered after its final response\n",
               request.id.c_str(), request.model_name.c_str());
  std::abort();
}

// Yields while another thread holds the flag: with few cores that thread may be waiting for ours.
class HookGuard {
 public:
  explicit HookGuard(std::atomic_flag& flag) : flag_(flag) {
    // Acquire pairs with the release in the destructor.
    while (flag_.test_and_set(std::memory_order_acquire)) std::this_thread::yield();
  }
  ~HookGuard() { flag_.clear(std::memory_order_release); }
  HookGuard(const HookGuard&) = delete;
  HookGuard& operator=(const HookGuard&) = delete;

 private:
  std::atomic_flag& flag_;
};

ResponseKind KindOf(const InferResponse& response) {
  if (response.status.ok())
    return response.flags_only ? ResponseKind::kEmpty : ResponseKind::kSuccess;
  return response.status.code() == StatusCode::kCancelled ? ResponseKind::kCancel
                                                          : ResponseKind::kFail;
}

}  // namespace

void InferRequest::Respond(InferResponse response, bool final) {
  // Release pairs with the acquire in completed(): whoever sees it true sees what the owner did.
  if (final ? completed_.exchange(true, std::memory_order_acq_rel) : completed()) {
    AbortOnSecondCompletion(*this);
  }
  const RequestPtr self = shared_from_this();
  const bool decoupled = spec && spec->decoupled;
  const bool observed = decoupled && completion_listener;
  const ResponseKind kind = KindOf(response);
  if (observed) completion_listener->BeforeResponse(this);
  if (final) {
    // Sinks often own their request: letting go of it here breaks the cycle.
    std::exchange(sink, nullptr)->OnResponse(self, std::move(response), true);
  } else {
    sink->OnResponse(self, std::move(response), false);
  }
  if (decoupled && final) DropHooks();
  if (observed) completion_listener->AfterResponse(this, kind);
  if (final && completion_listener) std::exchange(completion_listener, nullptr)->OnCompleted(*this);
}

void InferRequest::Fail(Status status, FailureReason reason) {
  failed = true;
  failure_reason = reason;
  InferResponse response;
  response.status = std::move(status);
  response.model_name = model_name;
  response.model_version = spec ? spec->version : model_version;
  response.id = id;
  Respond(std::move(response), /*final=*/true);
}

void InferRequest::Cancel() {
  std::shared_ptr<CancelHook> hook;
  {
    const HookGuard guard(hook_lock_);
    if (cancelled_.exchange(true, std::memory_order_acq_rel)) return;
    hook = hook_;
  }
  if (hook) hook->OnCancel(shared_from_this());
  NotifyRoom();
}

bool InferRequest::WaitForRoom(std::shared_ptr<RoomHook> hook) {
  {
    const HookGuard guard(hook_lock_);
    room_hook_ = std::move(hook);
  }
  // A sink that made room before this saw no hook: then it is not congested now.
  if (congested()) return true;
  const HookGuard guard(hook_lock_);
  // Empty: it was called meanwhile.
  return std::exchange(room_hook_, nullptr) == nullptr;
}

void InferRequest::DropHooks() {
  std::shared_ptr<CancelHook> cancel_hook;
  std::shared_ptr<RoomHook> room_hook;
  const HookGuard guard(hook_lock_);
  cancel_hook.swap(hook_);
  room_hook.swap(room_hook_);
}

void InferRequest::NotifyRoom() {
  std::shared_ptr<RoomHook> hook;
  {
    const HookGuard guard(hook_lock_);
    hook.swap(room_hook_);
  }
  if (hook) hook->OnRoom(shared_from_this());
}

void InferRequest::SetExecutionResources(std::shared_ptr<ExecutionResources> resources) {
  const HookGuard guard(hook_lock_);
  execution_resources_.swap(resources);
}

std::shared_ptr<ExecutionResources> InferRequest::execution_resources() {
  const HookGuard guard(hook_lock_);
  return execution_resources_;
}

bool InferRequest::SetCancelHook(std::shared_ptr<CancelHook> hook) {
  const HookGuard guard(hook_lock_);
  hook_.swap(hook);
  return !cancelled_.load(std::memory_order_relaxed);  // written under hook_lock_
}

}  // namespace fastserve
