// The latencies that --metrics-config asks for besides the histograms that are always there:
// summaries (summary_latencies) and the time to the first response (histogram_latencies).
// Names: Triton user guide metrics.md; see docs/metrics.md.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/clock.h"
#include "metrics/bucket_histogram.h"
#include "metrics/latency_summary.h"

namespace fastserve {

enum class SummaryPhase : std::uint8_t {
  kRequest,
  kQueue,
  kComputeInput,
  kComputeInfer,
  kComputeOutput,
  kCacheHit,
  kCacheMiss
};
inline constexpr std::size_t kSummaryPhaseCount = 7;

struct StatisticsOptions {
  bool summaries = false;
  // Upper bounds in milliseconds; empty: no histogram.
  std::vector<double> first_response_buckets_ms;
};

// Not thread safe: guarded by its owner's mutex.
class OptionalLatencies {
 public:
  explicit OptionalLatencies(const StatisticsOptions& options);

  // Nothing where the summaries are off. `times` values of `ns` each.
  void Record(SummaryPhase phase, std::int64_t ns, std::int64_t now_ns, std::uint64_t times = 1) {
    if (summaries_ != nullptr) Of(phase).Record(ToUs(ns), times, now_ns);
  }
  // Nothing where the histogram is off.
  void RecordFirstResponse(std::int64_t ns);

  // Empty where the summaries are off.
  LatencySummary::Snapshot ReadSummary(SummaryPhase phase, std::span<const double> quantiles,
                                       std::int64_t now_ns) const;
  std::optional<BucketHistogram::Snapshot> ReadFirstResponse() const;

 private:
  using Summaries = std::array<LatencySummary, kSummaryPhaseCount>;

  static std::uint64_t ToUs(std::int64_t ns) {
    return static_cast<std::uint64_t>(ns > 0 ? ns / kNsPerUs : 0);
  }
  LatencySummary& Of(SummaryPhase phase) { return (*summaries_)[static_cast<std::size_t>(phase)]; }

  std::unique_ptr<Summaries> summaries_;
  std::optional<BucketHistogram> first_response_;
};

}  // namespace fastserve
