// When requests should be sent. In an open loop the times are fixed beforehand, whatever the server
// does; latency that is counted from them has no coordinated omission.
#pragma once

#include <cstdint>
#include <limits>
#include <random>

#include "perf/load_options.h"

namespace fastserve::perf {

inline constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

// The intended send times of one thread. Not thread safe; no clock of its own.
class SendSchedule {
 public:
  // `rate` is this thread's share, in requests a second; unused in a closed loop.
  SendSchedule(Arrival arrival, double rate, std::uint64_t seed);

  void Start(std::int64_t now_ns);
  // A closed loop sends whenever there is room.
  bool closed_loop() const { return arrival_ == Arrival::kClosedLoop; }
  // The next intended time; in a closed loop `now_ns`.
  std::int64_t NextNs(std::int64_t now_ns) const;
  void Advance();
  // About how many intended times there are from `next_ns` (the first not taken) up to `now_ns`.
  // Safe from any thread.
  std::int64_t Overdue(std::int64_t next_ns, std::int64_t now_ns) const;

 private:
  const Arrival arrival_;
  const double interval_ns_;
  double next_ns_ =
      0;  // relative to start, so that a fraction of a nanosecond is not lost in a large number
  std::int64_t start_ns_ = 0;
  std::mt19937_64 random_;
  std::exponential_distribution<double> exponential_;
};

}  // namespace fastserve::perf
