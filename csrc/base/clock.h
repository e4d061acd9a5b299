// Time as a dependency: everything that waits or measures takes a Clock, so tests inject a fake
// one.
#pragma once

#include <cstdint>

namespace fastserve {

inline constexpr std::int64_t kNsPerUs = 1'000;
inline constexpr std::int64_t kNsPerMs = 1'000'000;
inline constexpr std::int64_t kNsPerSecond = 1'000'000'000;

// Monotonic and wall time. Thread safe; never blocks.
class Clock {
 public:
  virtual ~Clock() = default;
  // Monotonic nanoseconds since an arbitrary start.
  virtual std::int64_t NowNs() const = 0;
  // Milliseconds since the Unix epoch (may jump).
  virtual std::int64_t WallMs() const = 0;
};

// The machine's clock (CLOCK_MONOTONIC, CLOCK_REALTIME). Lives for the whole process.
const Clock& SystemClock();

}  // namespace fastserve
