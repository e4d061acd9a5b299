// A budget of bad or costly frames: a burst, and so many more per second. What floods a connection
// runs out of it, what a busy client does now and then does not.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/clock.h"

namespace fastserve {

// Not thread safe. Time is given by the caller.
class TokenBucket {
 public:
  TokenBucket(std::int64_t burst, std::int64_t per_second)
      : burst_(burst), per_second_(per_second), tokens_(burst) {}

  // Takes `cost` tokens; false when there are not that many.
  bool Take(std::int64_t cost, std::int64_t now_ns) {
    if (last_refill_ns_ == 0) last_refill_ns_ = now_ns;
    if (tokens_ < cost) Refill(now_ns);
    if (tokens_ < cost) return false;
    tokens_ -= cost;
    return true;
  }
  void GiveBack(std::int64_t tokens) { tokens_ = std::min(burst_, tokens_ + tokens); }

 private:
  void Refill(std::int64_t now_ns) {
    const std::int64_t elapsed_ns = std::min(now_ns - last_refill_ns_, kMaxElapsedNs);
    const std::int64_t earned = elapsed_ns * per_second_ / kNsPerSecond;
    if (earned == 0) return;
    tokens_ = std::min(burst_, tokens_ + earned);
    last_refill_ns_ = now_ns;
  }
  // Keeps the product above within 64 bits; a longer pause fills any bucket of ours.
  static constexpr std::int64_t kMaxElapsedNs = 1000 * kNsPerSecond;

  std::int64_t burst_;
  std::int64_t per_second_;
  std::int64_t tokens_;
  std::int64_t last_refill_ns_ = 0;
};

}  // namespace fastserve
