// Keeps the responses of batches that run side by side in the order in which the batches were
// formed
// (`preserve_ordering`).
#pragma once

#include <cstdint>
#include <functional>
#include <map>

#include "base/mutex.h"

namespace fastserve {

// Thread safe. Tickets are 0, 1, 2 ... in the order of formation, each finished exactly once.
class ResponseOrder {
 public:
  // Calls `respond` once all earlier tickets have responded: now, or on the thread that finishes
  // the last of them. Responses are sent one at a time. Does not block.
  void Finish(std::uint64_t ticket, std::function<void()> respond) EXCLUDES(mutex_);

 private:
  Mutex mutex_;
  std::map<std::uint64_t, std::function<void()>> finished_ GUARDED_BY(mutex_);
  std::uint64_t next_ GUARDED_BY(mutex_) = 0;
  bool responding_ GUARDED_BY(mutex_) = false;  // a thread is sending; it takes what comes due
};

}  // namespace fastserve
