// A clock that stands still until the test moves it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "base/clock.h"

namespace fastserve {

// NowNs and Advance are thread safe; add listeners before other threads use the clock.
class FakeClock final : public Clock {
 public:
  explicit FakeClock(std::int64_t start_ns = 1'000'000'000) : now_ns_(start_ns) {}

  std::int64_t NowNs() const override { return now_ns_.load(); }
  std::int64_t WallMs() const override { return now_ns_.load() / 1'000'000; }

  // Moves time on, then tells the listeners (DeadlineTimer::Poke).
  void Advance(std::int64_t ns) {
    now_ns_.fetch_add(ns);
    for (const auto& listener : listeners_) listener();
  }
  void AddListener(std::function<void()> listener) { listeners_.push_back(std::move(listener)); }

 private:
  std::atomic<std::int64_t> now_ns_;
  std::vector<std::function<void()>> listeners_;
};

}  // namespace fastserve
