// Counts what is in flight and lets somebody wait until nothing is.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace fastserve {

// Thread safe. Add and Done are one atomic operation each, unless somebody waits.
class InflightCounter {
 public:
  void Add() { count_.fetch_add(1, std::memory_order_relaxed); }

  void Done() {
    // seq_cst on both sides (here and in WaitForNone): either the waiter sees the count, or this
    // sees the waiter.
    if (count_.fetch_sub(1, std::memory_order_seq_cst) != 1) return;
    if (waiters_.load(std::memory_order_seq_cst) == 0) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    none_.notify_all();
  }

  std::uint64_t count() const { return count_.load(std::memory_order_relaxed); }

  // Blocks until the count was 0, or `timeout_ns` passed (negative: for ever). True when it was 0.
  bool WaitForNone(std::int64_t timeout_ns) {
    waiters_.fetch_add(1, std::memory_order_seq_cst);
    std::unique_lock<std::mutex> lock(mutex_);
    const auto none = [this] { return count_.load(std::memory_order_seq_cst) == 0; };
    bool reached = true;
    if (timeout_ns < 0) {
      none_.wait(lock, none);
    } else {
      reached = none_.wait_for(lock, std::chrono::nanoseconds(timeout_ns), none);
    }
    waiters_.fetch_sub(1, std::memory_order_seq_cst);
    return reached;
  }

 private:
  std::atomic<std::uint64_t> count_{0};
  std::atomic<int> waiters_{0};
  std::mutex mutex_;
  std::condition_variable none_;
};

}  // namespace fastserve
