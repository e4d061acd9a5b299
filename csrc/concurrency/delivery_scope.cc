#include "concurrency/delivery_scope.h"

#include <algorithm>

namespace fastserve {

namespace {
thread_local DeliveryScope* current_scope = nullptr;
}  // namespace

DeliveryScope::DeliveryScope() : outermost_(current_scope == nullptr) {
  if (outermost_) current_scope = this;
}

DeliveryScope::~DeliveryScope() {
  if (!outermost_) return;
  // Delivering may complete more requests, which then deliver at once.
  current_scope = nullptr;
  for (const auto& delivery : deliveries_) delivery->Deliver(may_linger_);
}

bool DeliveryScope::Defer(const std::shared_ptr<Delivery>& delivery) {
  if (current_scope == nullptr) return false;
  auto& deliveries = current_scope->deliveries_;
  if (std::find(deliveries.begin(), deliveries.end(), delivery) == deliveries.end())
    deliveries.push_back(delivery);
  return true;
}

}  // namespace fastserve
