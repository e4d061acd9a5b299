// What a batch costs by its size, learned from the executions themselves.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace fastserve {

// One point for each power of two: the sizes (2^(i-1), 2^i] share bucket i, which keeps a moving
// average of their size and of their cost. Not thread safe. O(1) to record, O(buckets) to ask.
// Invariants: 1. a cost is positive; 2. one wild measurement moves a settled average by at most a
// thirty-second part of it.
class CostCurve {
 public:
  static constexpr std::size_t kMostBuckets = 32;

  // `max_batch_size` is at least 1.
  explicit CostCurve(std::int64_t max_batch_size);

  void Record(std::int64_t batch_size, std::int64_t cost_ns);

  std::size_t bucket_count() const { return bucket_count_; }
  static std::size_t BucketOf(std::int64_t batch_size);
  // The largest batch size of a bucket: a power of two, or the maximum.
  std::int64_t LargestOf(std::size_t bucket) const;
  // True when the bucket was measured often enough to be compared with others.
  bool IsKnown(std::size_t bucket) const { return points_[bucket].count >= kEnough; }
  // Of a known bucket.
  double CostNs(std::size_t bucket) const { return points_[bucket].cost_ns; }
  double CostPerRowNs(std::size_t bucket) const {
    return points_[bucket].cost_ns / points_[bucket].batch_size;
  }
  // What running `a` and `b` rows as one batch saves over running them apart, by interpolation
  // between the known sizes; never negative. 0 as long as nothing is known.
  double SavingNs(double a, double b) const;

 private:
  static constexpr std::uint32_t kEnough = 3;
  struct Point {
    std::uint32_t count = 0;
    double batch_size = 0;
    double cost_ns = 0;
  };

  double InterpolateNs(double batch_size) const;

  const std::int64_t max_batch_size_;
  const std::size_t bucket_count_;
  std::array<Point, kMostBuckets> points_{};
};

}  // namespace fastserve
