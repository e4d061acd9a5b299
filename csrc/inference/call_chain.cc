#include "inference/call_chain.h"

#include <string>

namespace fastserve {

namespace {

// An ancestor's specification is set since it was submitted.
bool Holds(const InferRequest& ancestor, const ModelSpec& target) {
  return ancestor.spec.get() == &target && ancestor.holds_instance.load(std::memory_order_relaxed);
}

std::string ChainText(const InferRequest& request, const ModelSpec& target) {
  std::string text = target.name;
  for (const InferRequest* cause = CauseOf(request); cause != nullptr; cause = CauseOf(*cause))
    text.insert(0, cause->model_name + " -> ");
  return text;
}

}  // namespace

const InferRequest* CauseOf(const InferRequest& request) {
  return request.parent != nullptr ? request.parent.get() : request.caller.get();
}

bool IsNested(const InferRequest& request) {
  for (const InferRequest* at = &request; at != nullptr; at = CauseOf(*at)) {
    if (at->caller != nullptr) return true;
  }
  return false;
}

Status CheckCallChain(const InferRequest& request, const ModelSpec& target, std::size_t capacity) {
  if (capacity == 0) return Status::Ok();
  std::size_t held = 0;
  for (const InferRequest* cause = CauseOf(request); cause != nullptr; cause = CauseOf(*cause)) {
    if (Holds(*cause, target)) ++held;
  }
  if (held < capacity) return Status::Ok();
  return Status::Unavailable("model '" + target.name + "' is called by itself (" +
                             ChainText(request, target) + ") and can run " +
                             std::to_string(capacity) +
                             " at once, all held by these calls: this request could only be served "
                             "after itself; raise the count of its instance_group");
}

}  // namespace fastserve
