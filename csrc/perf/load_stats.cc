// Copies and differences of the sending threads' counts.
#include "perf/load_stats.h"

#include <algorithm>

namespace fastserve::perf {

LoadSnapshot LoadSnapshot::Since(const LoadSnapshot& earlier) const {
  LoadSnapshot window = *this;
  window.time_ns -= earlier.time_ns;
  window.cpu_ns -= earlier.cpu_ns;
  for (std::size_t i = 0; i < kLoadCounters; ++i) window.counters[i] -= earlier.counters[i];
  window.latencies.Subtract(earlier.latencies);
  return window;
}

void LoadSnapshot::Add(const LoadSnapshot& other) {
  time_ns += other.time_ns;
  cpu_ns += other.cpu_ns;
  in_flight += other.in_flight;
  overdue += other.overdue;
  connections += other.connections;
  for (std::size_t i = 0; i < kLoadCounters; ++i) counters[i] += other.counters[i];
  latencies.Add(other.latencies);
}

void LoadRecorder::AddTo(LoadSnapshot* snapshot) const {
  for (std::size_t i = 0; i < kLoadCounters; ++i) {
    snapshot->counters[i] += counters_[i].load(std::memory_order_relaxed);
  }
  snapshot->in_flight += in_flight_.load(std::memory_order_relaxed);
  snapshot->connections += connections_.load(std::memory_order_relaxed);
  latencies_.CopyTo(&snapshot->latencies);
}

void ErrorLog::Add(std::string_view text) {
  MutexLock lock(mutex_);
  const auto same = [&](const auto& entry) { return entry.first == text; };
  auto found = std::find_if(entries_.begin(), entries_.end(), same);
  if (found == entries_.end()) {
    if (entries_.size() > kDistinctTexts) {
      found = std::prev(entries_.end());  // the entry "other errors"
    } else {
      const bool last = entries_.size() == kDistinctTexts;
      entries_.emplace_back(last ? "other errors" : std::string(text), 0);
      found = std::prev(entries_.end());
    }
  }
  ++found->second;
}

std::vector<std::pair<std::string, std::int64_t>> ErrorLog::Entries() const {
  MutexLock lock(mutex_);
  return entries_;
}

}  // namespace fastserve::perf
