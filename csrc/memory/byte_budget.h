// The server's bound on request bytes in memory (--max-inflight-bytes): what front ends are
// receiving and the inputs of the requests that were submitted.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "base/status.h"

namespace fastserve {

// Thread safe; nothing blocks.
class ByteBudget {
 public:
  explicit ByteBudget(std::uint64_t max_bytes) : max_bytes_(max_bytes) {}

  // False when `bytes` do not fit; more than the whole budget never fit.
  bool TryTake(std::uint64_t bytes) {
    std::uint64_t used = used_bytes_.load(std::memory_order_relaxed);
    do {
      if (bytes > max_bytes_ || used > max_bytes_ - bytes) return false;
    } while (!used_bytes_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed));
    return true;
  }
  void GiveBack(std::uint64_t bytes) { used_bytes_.fetch_sub(bytes, std::memory_order_relaxed); }

  // Unavailable: why a request of `request_bytes` does not fit.
  Status Refusal(std::uint64_t request_bytes) const;

  std::uint64_t max_bytes() const { return max_bytes_; }
  std::uint64_t used_bytes() const { return used_bytes_.load(std::memory_order_relaxed); }
  // What is left now; another thread may take it.
  std::uint64_t free_bytes() const { return max_bytes_ - std::min(max_bytes_, used_bytes()); }

 private:
  const std::uint64_t max_bytes_;
  std::atomic<std::uint64_t> used_bytes_{0};  // a limit, not an order: relaxed
};

// Bytes taken from a budget, which it keeps alive; given back by the destructor. Without a budget
// everything fits. A claim that was moved from holds nothing and can be added to again. Not thread
// safe.
class ByteClaim {
 public:
  explicit ByteClaim(std::shared_ptr<ByteBudget> budget = nullptr) : budget_(std::move(budget)) {}
  ~ByteClaim() { Release(); }
  ByteClaim(ByteClaim&& other) noexcept : ByteClaim(other.budget_) {
    bytes_ = std::exchange(other.bytes_, 0);
  }
  ByteClaim& operator=(ByteClaim&& other) noexcept {
    if (this == &other) return *this;
    Release();
    budget_ = other.budget_;
    bytes_ = std::exchange(other.bytes_, 0);
    return *this;
  }

  // Claims so many more. Errors: Unavailable, claiming none of them; `request_bytes` is for its
  // text.
  Status Add(std::uint64_t bytes, std::uint64_t request_bytes) {
    if (budget_ == nullptr) return Status::Ok();
    if (!budget_->TryTake(bytes)) return budget_->Refusal(request_bytes);
    bytes_ += bytes;
    return Status::Ok();
  }
  void Release() {
    if (bytes_ > 0) budget_->GiveBack(std::exchange(bytes_, 0));
  }

 private:
  std::shared_ptr<ByteBudget> budget_;
  std::uint64_t bytes_ = 0;
};

}  // namespace fastserve
