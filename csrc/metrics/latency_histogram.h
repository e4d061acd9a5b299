// Latencies in microseconds, counted in log-linear buckets.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace fastserve {

// Thread safe and wait free. The atomics are statistics: relaxed throughout, nothing is ordered by
// them; a snapshot taken meanwhile may miss the latest values, and its sum may be a few values
// ahead of its counts.
//
// Buckets are decimal: nine of equal width per decade, (1,2], (2,3], ... (9,10], (10,20], ... up to
// 100 s, below them 0..1 us, above them everything longer. So every exported bound is a bucket's.
class LatencyHistogram {
 public:
  // Upper bounds in microseconds of the exported cumulative counts, from 10 us to 60 s. Another
  // count, without a bound, follows them.
  static constexpr std::array<std::uint32_t, 21> kBoundsUs = {
      10,      20,        50,        100,       200,        500,        1'000,
      2'000,   5'000,     10'000,    20'000,    50'000,     100'000,    200'000,
      500'000, 1'000'000, 2'000'000, 5'000'000, 10'000'000, 20'000'000, 60'000'000};

  struct Snapshot {
    // cumulative[i]: values <= kBoundsUs[i]; the last one: all values.
    std::array<std::uint64_t, kBoundsUs.size() + 1> cumulative{};
    std::uint64_t sum_us = 0;
    std::uint64_t count() const { return cumulative.back(); }
  };

  // Counts `times` values of `us` each.
  void Record(std::uint64_t us, std::uint64_t times = 1) {
    buckets_[BucketOf(us)].fetch_add(times, std::memory_order_relaxed);
    sum_us_.fetch_add(us * times, std::memory_order_relaxed);
  }

  Snapshot TakeSnapshot() const;
  std::uint64_t sum_us() const { return sum_us_.load(std::memory_order_relaxed); }
  std::uint64_t count() const { return TakeSnapshot().count(); }

 private:
  static constexpr std::size_t kDecades = 8;
  static constexpr std::size_t kBucketsPerDecade = 9;
  static constexpr std::size_t kOverflowBucket = 1 + kDecades * kBucketsPerDecade;
  static constexpr std::array<std::uint32_t, kDecades + 1> kPowersOfTen = {
      1, 10, 100, 1'000, 10'000, 100'000, 1'000'000, 10'000'000, 100'000'000};

  static std::size_t BucketOf(std::uint64_t us) {
    if (us <= 1) return 0;
    if (us > kPowersOfTen.back()) return kOverflowBucket;
    const auto below = static_cast<std::uint32_t>(us - 1);
    // log10 from log2: 1233 / 4096 is just under log10(2), so the guess is right or one too high.
    std::size_t decade = (static_cast<std::size_t>(std::bit_width(below)) * 1233) >> 12;
    if (below < kPowersOfTen[decade]) --decade;
    return decade * kBucketsPerDecade + below / kPowersOfTen[decade];
  }

  std::array<std::atomic<std::uint64_t>, kOverflowBucket + 1> buckets_{};
  std::atomic<std::uint64_t> sum_us_{0};
};

}  // namespace fastserve
