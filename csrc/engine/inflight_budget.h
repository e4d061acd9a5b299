// The server's bound on request bytes in memory (--max-inflight-bytes) and its count of requests in
// flight.
#pragma once

#include <atomic>
#include <cstdint>

#include "engine/inflight_counter.h"

namespace fastserve {

// Half of the memory this process may use: the cgroup's limit (v2 or v1), else the machine's
// memory. In bytes.
std::uint64_t DefaultInflightBytes();

// Thread safe.
class InflightBudget {
 public:
  explicit InflightBudget(std::uint64_t max_bytes) : max_bytes_(max_bytes) {}

  // False when `bytes` do not fit; a request larger than the whole budget never fits.
  bool TryTake(std::uint64_t bytes) {
    const std::uint64_t before = bytes_.fetch_add(bytes, std::memory_order_relaxed);
    if (before + bytes <= max_bytes_) return true;
    bytes_.fetch_sub(bytes, std::memory_order_relaxed);
    return false;
  }
  void GiveBack(std::uint64_t bytes) { bytes_.fetch_sub(bytes, std::memory_order_relaxed); }

  std::uint64_t max_bytes() const { return max_bytes_; }
  std::uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
  InflightCounter& requests() { return requests_; }
  const InflightCounter& requests() const { return requests_; }

 private:
  const std::uint64_t max_bytes_;
  std::atomic<std::uint64_t> bytes_{0};  // a limit, not an order: relaxed
  InflightCounter requests_;
};

}  // namespace fastserve
