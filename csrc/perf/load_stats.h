// What the sending threads count, and copies of it. A window of a measurement is the difference of
// two copies.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "perf/latency_histogram.h"

namespace fastserve::perf {

// X(name): every counter of a sending thread. All only grow.
//   sent        requests handed to a connection
//   completed   answered with success in time, and with the expected bytes where some were given
//   failed      every other end of a request, except abandoned ones
//   timed_out   of `failed`: no answer within the request timeout
//   mismatched  of `failed`: the answer's bytes were not the expected ones
//   abandoned   given up on purpose by the options of a soak test
//   late        open loop: sent more than 1 ms after the intended time
//   connected, refused   connections that were made, and that could not be made
//   broken      connections lost with requests in flight
//   send_ns, receive_ns   time from starting to write to the last byte written; from the first to
//   the last byte read
// The formatter does not settle on one form of this list.
// clang-format off
#define FASTSERVE_LOAD_COUNTERS(X) \
  X(sent) X(completed) X(failed) X(timed_out) X(mismatched) X(abandoned) X(late) \
  X(connected) X(refused) X(broken) X(sent_bytes) X(received_bytes) X(send_ns) \
  X(receive_ns)
// clang-format on

enum class LoadCounter : std::size_t {
#define FASTSERVE_X(name) name,
  FASTSERVE_LOAD_COUNTERS(FASTSERVE_X)
#undef FASTSERVE_X
      kSize
};
inline constexpr std::size_t kLoadCounters = static_cast<std::size_t>(LoadCounter::kSize);

struct LoadSnapshot {
  std::int64_t time_ns = 0;      // monotonic
  std::int64_t cpu_ns = 0;       // processor time of the sending threads since they started
  std::int64_t in_flight = 0;    // now
  std::int64_t overdue = 0;      // open loop: intended to have been sent by now, and not sent
  std::int64_t connections = 0;  // connected now
  std::array<std::int64_t, kLoadCounters> counters{};
  LatencyCounts latencies;  // of completed requests

  std::int64_t counter(LoadCounter which) const {
    return counters[static_cast<std::size_t>(which)];
  }
  // The window from `earlier` to this: counters, times and latencies; in_flight, overdue and
  // connections stay as they are.
  LoadSnapshot Since(const LoadSnapshot& earlier) const;
  // Puts another window, or another thread's counts, beside this one.
  void Add(const LoadSnapshot& other);
};

// The counts of one sending thread. One writer, any number of readers; never blocks.
class LoadRecorder {
 public:
  void Count(LoadCounter which, std::int64_t amount = 1) {
    std::atomic<std::int64_t>& counter = counters_[static_cast<std::size_t>(which)];
    // Relaxed: single writer; a reader may see one counter before another.
    counter.store(counter.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
  }
  void RecordLatency(std::int64_t latency_ns) { latencies_.Record(latency_ns); }
  // Gauges, written by the sending thread.
  void SetInFlight(std::int64_t value) { in_flight_.store(value, std::memory_order_relaxed); }
  void SetConnections(std::int64_t value) { connections_.store(value, std::memory_order_relaxed); }
  void AddTo(LoadSnapshot* snapshot) const;

 private:
  std::array<std::atomic<std::int64_t>, kLoadCounters> counters_{};
  std::atomic<std::int64_t> in_flight_{0};
  std::atomic<std::int64_t> connections_{0};
  LatencyRecorder latencies_;
};

// Texts of failures with their number, in the order of their first appearance. Thread safe;
// bounded.
class ErrorLog {
 public:
  void Add(std::string_view text) EXCLUDES(mutex_);
  std::vector<std::pair<std::string, std::int64_t>> Entries() const EXCLUDES(mutex_);

 private:
  static constexpr std::size_t kDistinctTexts = 64;
  mutable Mutex mutex_;
  std::vector<std::pair<std::string, std::int64_t>> entries_ GUARDED_BY(mutex_);
};

}  // namespace fastserve::perf
