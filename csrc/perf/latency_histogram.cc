// Log-linear buckets and the statistics read from them.
#include "perf/latency_histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace fastserve::perf {

std::size_t LatencyBucket(std::int64_t latency_ns) {
  constexpr std::int64_t kLongest = (std::int64_t{1} << kLatencyBits) - 1;
  const auto value = static_cast<std::uint64_t>(std::clamp<std::int64_t>(latency_ns, 0, kLongest));
  const int shift = std::max(0, static_cast<int>(std::bit_width(value)) - kSubBucketBits - 1);
  return (static_cast<std::size_t>(shift) << kSubBucketBits) + (value >> shift);
}

double LatencyOfBucket(std::size_t bucket) {
  constexpr std::size_t kPerOctave = std::size_t{1} << kSubBucketBits;
  if (bucket < 2 * kPerOctave) return static_cast<double>(bucket);
  const std::size_t shift = (bucket >> kSubBucketBits) - 1;
  const std::size_t lower = (bucket - (shift << kSubBucketBits)) << shift;
  return static_cast<double>(lower) + static_cast<double>(std::size_t{1} << shift) / 2;
}

void LatencyCounts::Add(const LatencyCounts& other) {
  for (std::size_t i = 0; i < buckets_.size(); ++i) buckets_[i] += other.buckets_[i];
}

void LatencyCounts::Subtract(const LatencyCounts& earlier) {
  for (std::size_t i = 0; i < buckets_.size(); ++i) buckets_[i] -= earlier.buckets_[i];
}

std::int64_t LatencyCounts::count() const {
  std::int64_t total = 0;
  for (const std::int64_t bucket : buckets_) total += bucket;
  return total;
}

double LatencyCounts::PercentileNs(double percent) const {
  const std::int64_t total = count();
  if (total == 0) return 0;
  const double exact_rank = std::ceil(static_cast<double>(total) * percent / 100.0);
  const auto rank = std::clamp<std::int64_t>(static_cast<std::int64_t>(exact_rank), 1, total);
  std::int64_t seen = 0;
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    seen += buckets_[i];
    if (seen >= rank) return LatencyOfBucket(i);
  }
  return LatencyOfBucket(buckets_.size() - 1);
}

double LatencyCounts::MeanNs() const {
  double sum = 0;
  std::int64_t total = 0;
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    sum += static_cast<double>(buckets_[i]) * LatencyOfBucket(i);
    total += buckets_[i];
  }
  return total == 0 ? 0 : sum / static_cast<double>(total);
}

double LatencyCounts::StandardDeviationNs() const {
  const double mean = MeanNs();
  double squares = 0;
  std::int64_t total = 0;
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    const double difference = LatencyOfBucket(i) - mean;
    squares += static_cast<double>(buckets_[i]) * difference * difference;
    total += buckets_[i];
  }
  return total < 2 ? 0 : std::sqrt(squares / static_cast<double>(total - 1));
}

void LatencyRecorder::CopyTo(LatencyCounts* counts) const {
  for (std::size_t i = 0; i < kLatencyBuckets; ++i) {
    counts->AddTo(i, buckets_[i].load(std::memory_order_relaxed));
  }
}

}  // namespace fastserve::perf
