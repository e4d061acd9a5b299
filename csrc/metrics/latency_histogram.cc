#include "metrics/latency_histogram.h"

namespace fastserve {

LatencyHistogram::Snapshot LatencyHistogram::TakeSnapshot() const {
  Snapshot snapshot;
  std::uint64_t counted = 0;
  std::size_t bucket = 0;
  for (std::size_t i = 0; i < kBoundsUs.size(); ++i) {
    for (const std::size_t last = BucketOf(kBoundsUs[i]); bucket <= last; ++bucket) {
      counted += buckets_[bucket].load(std::memory_order_relaxed);
    }
    snapshot.cumulative[i] = counted;
  }
  for (; bucket < buckets_.size(); ++bucket) {
    counted += buckets_[bucket].load(std::memory_order_relaxed);
  }
  snapshot.cumulative.back() = counted;
  snapshot.sum_us = sum_us();
  return snapshot;
}

}  // namespace fastserve
