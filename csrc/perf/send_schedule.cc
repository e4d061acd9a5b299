// Constant and Poisson arrivals.
#include "perf/send_schedule.h"

#include <algorithm>

namespace fastserve::perf {

SendSchedule::SendSchedule(Arrival arrival, double rate, std::uint64_t seed)
    : arrival_(arrival),
      interval_ns_(rate > 0 ? 1e9 / rate : 0),
      random_(seed),
      exponential_(1.0) {}

void SendSchedule::Start(std::int64_t now_ns) {
  start_ns_ = now_ns;
  next_ns_ = 0;
}

std::int64_t SendSchedule::NextNs(std::int64_t now_ns) const {
  return closed_loop() ? now_ns : start_ns_ + static_cast<std::int64_t>(next_ns_);
}

void SendSchedule::Advance() {
  if (closed_loop()) return;
  next_ns_ +=
      arrival_ == Arrival::kPoissonRate ? interval_ns_ * exponential_(random_) : interval_ns_;
}

std::int64_t SendSchedule::Overdue(std::int64_t next_ns, std::int64_t now_ns) const {
  if (closed_loop() || now_ns < next_ns) return 0;
  return static_cast<std::int64_t>(static_cast<double>(now_ns - next_ns) / interval_ns_) + 1;
}

}  // namespace fastserve::perf
