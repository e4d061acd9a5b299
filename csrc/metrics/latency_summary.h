// Quantiles of the latencies of the last minute, for the Prometheus type summary.
//
// A DDSketch (Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable quantile sketch with
// relative-error guarantees", VLDB 2019) whose buckets are linear within each power of two, the
// layout of HdrHistogram, so that recording needs no logarithm. Ranks are exact; a value is exact
// below 128 us and within 0.8 % above.
//
// The window slides as that of Prometheus' client libraries: five parts of twelve seconds, the
// oldest is dropped when the next one begins, so a quantile is over the last 48 to 60 seconds.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace fastserve {

// Not thread safe: guarded by its owner's mutex. Takes 35 kB. Nothing runs in the background: who
// records or reads says what time it is.
class LatencySummary {
 public:
  static constexpr std::int64_t kWindowNs = 60'000'000'000;
  // How far a quantile may be from a recorded value, relative to that.
  static constexpr double kRelativeError = 1.0 / 128;

  struct Snapshot {
    std::vector<double> values;  // microseconds, one per quantile; NaN without any in the window
    std::uint64_t sum_us = 0;    // of all that was ever recorded
    std::uint64_t count = 0;
  };

  // Counts `times` values of `us` each.
  void Record(std::uint64_t us, std::uint64_t times, std::int64_t now_ns);
  // `quantiles`: from 0 to 1. The value of a quantile q is the one of rank ceil(q * count).
  Snapshot Read(std::span<const double> quantiles, std::int64_t now_ns) const;

 private:
  static constexpr std::size_t kParts = 5;
  static constexpr std::int64_t kPartNs = kWindowNs / kParts;
  static constexpr unsigned kLinearBits = 6;  // 64 buckets per power of two
  static constexpr std::uint64_t kMaxUs = 0xffff'ffff;
  static constexpr std::size_t kBuckets = (33 - kLinearBits) << kLinearBits;

  struct Part {
    std::int64_t number = -1;  // the time over kPartNs
    std::array<std::uint32_t, kBuckets> counts{};
  };
  using Merged = std::array<std::uint64_t, kBuckets>;

  static std::size_t BucketOf(std::uint64_t us) {
    if (us > kMaxUs) us = kMaxUs;
    if (us < (1U << kLinearBits)) return us;
    const unsigned shift = static_cast<unsigned>(std::bit_width(us)) - 1 - kLinearBits;
    return (std::size_t{shift} << kLinearBits) + (us >> shift);
  }
  // The middle of the bucket.
  static double ValueOf(std::size_t bucket);
  static double ValueOfRank(const Merged& merged, std::uint64_t rank);

  std::array<Part, kParts> parts_;
  std::uint64_t sum_us_ = 0;
  std::uint64_t count_ = 0;
};

}  // namespace fastserve
