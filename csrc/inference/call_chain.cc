#include "inference/call_chain.h"

namespace fastserve {

namespace {

// An ancestor's specification is set since it was submitted.
bool Holds(const InferRequest& ancestor, const ModelSpec& target) {
  return ancestor.spec.get() == &target && ancestor.holds_instance.load(std::memory_order_relaxed);
}

// Why a second instance would not help; empty when it would.
std::string OrderOf(const ModelSpec& target) {
  if (target.sequence_batching.enabled) return "serves its sequences in order";
  if (target.dynamic_batching.preserve_ordering) return "answers in order (preserve_ordering)";
  return {};
}

}  // namespace

const InferRequest* CauseOf(const InferRequest& request) {
  return request.parent != nullptr ? request.parent.get() : request.caller.get();
}

bool IsNested(const InferRequest& request) {
  for (const InferRequest* at = &request; at != nullptr; at = CauseOf(*at)) {
    if (at->caller != nullptr) return true;
    if (at != &request && at->spec != nullptr && at->spec->ensemble.max_inflight_requests != 0)
      return true;
  }
  return false;
}

std::string CallChainText(const InferRequest& request, const ModelSpec& target) {
  std::string text = target.name;
  for (const InferRequest* cause = CauseOf(request); cause != nullptr; cause = CauseOf(*cause))
    text.insert(0, cause->model_name + " -> ");
  return text;
}

Status CheckCallChain(const InferRequest& request, const ModelSpec& target, std::size_t capacity) {
  if (capacity == 0) return Status::Ok();
  std::size_t held = 0;
  for (const InferRequest* cause = CauseOf(request); cause != nullptr; cause = CauseOf(*cause)) {
    if (Holds(*cause, target)) ++held;
  }
  const std::string order = OrderOf(target);
  if (held < (order.empty() ? capacity : 1)) return Status::Ok();
  const std::string limit =
      order.empty() ? "can run " + std::to_string(capacity) + " at once, all held by these calls"
                    : order;
  return Status::Unavailable("model '" + target.name + "' is called by itself (" +
                             CallChainText(request, target) + ") and " + limit +
                             ": this request could only be served after itself" +
                             (order.empty() ? "; raise the count of its instance_group" : ""));
}

}  // namespace fastserve
