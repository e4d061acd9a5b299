// How long the next start of a worker waits.
#pragma once

#include <algorithm>
#include <cstdint>

#include "backend/worker/worker_plan.h"

namespace fastserve {

// Doubles from one start to the next, up to a limit, and begins anew after a life that was of use:
// a long one, or one in which something was answered. Not thread safe.
class RestartBackoff {
 public:
  explicit RestartBackoff(const WorkerTimes& times)
      : first_ns_(times.first_backoff_ns),
        longest_ns_(times.longest_backoff_ns),
        long_life_ns_(times.long_life_ns),
        next_ns_(first_ns_) {}

  // A worker that had been initialized has died, so long after its start.
  void OnDeath(std::int64_t lived_ns, bool answered) {
    if (answered || lived_ns >= long_life_ns_) next_ns_ = first_ns_;
  }
  std::int64_t Take() {
    const std::int64_t taken_ns = next_ns_;
    next_ns_ = std::min(2 * next_ns_, longest_ns_);
    return taken_ns;
  }

 private:
  const std::int64_t first_ns_;
  const std::int64_t longest_ns_;
  const std::int64_t long_life_ns_;
  std::int64_t next_ns_;
};

}  // namespace fastserve
