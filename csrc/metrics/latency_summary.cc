#include "metrics/latency_summary.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace fastserve {

void LatencySummary::Record(std::uint64_t us, std::uint64_t times, std::int64_t now_ns) {
  const std::int64_t number = now_ns / kPartNs;
  Part& part = parts_[static_cast<std::size_t>(number) % kParts];
  // A thread that comes late counts in the newer part.
  if (part.number < number) {
    part.number = number;
    part.counts.fill(0);
  }
  part.counts[BucketOf(us)] += static_cast<std::uint32_t>(times);
  sum_us_ += us * times;
  count_ += times;
}

double LatencySummary::ValueOf(std::size_t bucket) {
  if (bucket < (2U << kLinearBits)) return static_cast<double>(bucket);
  const std::size_t shift = (bucket >> kLinearBits) - 1;
  const std::uint64_t first = std::uint64_t{bucket - (shift << kLinearBits)} << shift;
  const std::uint64_t width = std::uint64_t{1} << shift;
  return static_cast<double>(first) + static_cast<double>(width - 1) / 2;
}

double LatencySummary::ValueOfRank(const Merged& merged, std::uint64_t rank) {
  std::uint64_t below = 0;
  for (std::size_t bucket = 0; bucket < merged.size(); ++bucket) {
    below += merged[bucket];
    if (below >= rank) return ValueOf(bucket);
  }
  return std::numeric_limits<double>::quiet_NaN();
}

LatencySummary::Snapshot LatencySummary::Read(std::span<const double> quantiles,
                                              std::int64_t now_ns) const {
  Merged merged{};
  const std::int64_t oldest = now_ns / kPartNs - static_cast<std::int64_t>(kParts) + 1;
  for (const Part& part : parts_) {
    if (part.number < oldest) continue;
    for (std::size_t i = 0; i < kBuckets; ++i) merged[i] += part.counts[i];
  }
  const std::uint64_t count = std::accumulate(merged.begin(), merged.end(), std::uint64_t{0});
  Snapshot snapshot;
  snapshot.sum_us = sum_us_;
  snapshot.count = count_;
  for (const double quantile : quantiles) {
    const double rank = std::ceil(quantile * static_cast<double>(count));
    snapshot.values.push_back(
        count == 0 ? std::numeric_limits<double>::quiet_NaN()
                   : ValueOfRank(merged, static_cast<std::uint64_t>(std::max(rank, 1.0))));
  }
  return snapshot;
}

}  // namespace fastserve
