#include "scheduling/response_order.h"

#include <utility>

namespace fastserve {

void ResponseOrder::Finish(std::uint64_t ticket, std::function<void()> respond) {
  {
    const MutexLock lock(mutex_);
    finished_.emplace(ticket, std::move(respond));
    if (responding_) return;
    responding_ = true;
  }
  for (;;) {
    std::function<void()> due;
    {
      const MutexLock lock(mutex_);
      const auto first = finished_.begin();
      if (first == finished_.end() || first->first != next_) {
        responding_ = false;
        return;
      }
      due = std::move(first->second);
      finished_.erase(first);
      ++next_;
    }
    due();
  }
}

}  // namespace fastserve
