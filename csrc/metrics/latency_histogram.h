// Latencies in microseconds, counted in log-linear buckets.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace fastserve {

// Thread safe: relaxed additions, nothing is ordered by them.
class LatencyHistogram {
 public:
  void Record(std::uint64_t us) {
    sum_us_.fetch_add(us, std::memory_order_relaxed);
    count_.fetch_add(1, std::memory_order_relaxed);
  }
  std::uint64_t sum_us() const { return sum_us_.load(std::memory_order_relaxed); }
  std::uint64_t count() const { return count_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> sum_us_{0};
  std::atomic<std::uint64_t> count_{0};
};

}  // namespace fastserve
