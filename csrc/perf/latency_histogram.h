// Request latencies in log-linear buckets: 128 to each power of two, so that a percentile is within
// 0.4 % of the truth from 1 us to 60 s. One thread records without locks while others copy; windows
// are differences of two copies.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace fastserve::perf {

inline constexpr int kSubBucketBits = 7;
inline constexpr int kLatencyBits = 36;  // 2^36 ns is 68.7 s; anything longer counts as that
inline constexpr std::size_t kLatencyBuckets =
    static_cast<std::size_t>(kLatencyBits - kSubBucketBits + 1) << kSubBucketBits;

// The bucket of a latency, and the latency in the middle of a bucket, in nanoseconds.
std::size_t LatencyBucket(std::int64_t latency_ns);
double LatencyOfBucket(std::size_t bucket);

// A copied histogram. Not thread safe.
class LatencyCounts {
 public:
  LatencyCounts() : buckets_(kLatencyBuckets) {}

  void AddTo(std::size_t bucket, std::int64_t count) { buckets_[bucket] += count; }
  void Add(const LatencyCounts& other);
  // Removes an earlier copy of the same recorder.
  void Subtract(const LatencyCounts& earlier);

  std::int64_t count() const;
  // Smallest latency that at least `percent` per cent of the requests did not exceed; 0 when there
  // are none.
  double PercentileNs(double percent) const;
  double MeanNs() const;
  double StandardDeviationNs() const;

 private:
  std::vector<std::int64_t> buckets_;
};

// The histogram a sending thread writes. One writer; any number of readers.
class LatencyRecorder {
 public:
  void Record(std::int64_t latency_ns) {
    std::atomic<std::int64_t>& bucket = buckets_[LatencyBucket(latency_ns)];
    // Relaxed: single writer, and readers need no order between buckets.
    bucket.store(bucket.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  void CopyTo(LatencyCounts* counts) const;

 private:
  std::array<std::atomic<std::int64_t>, kLatencyBuckets> buckets_{};
};

}  // namespace fastserve::perf
