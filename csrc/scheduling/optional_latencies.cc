#include "scheduling/optional_latencies.h"

namespace fastserve {

OptionalLatencies::OptionalLatencies(const StatisticsOptions& options)
    : summaries_(options.summaries ? std::make_unique<Summaries>() : nullptr) {
  if (!options.first_response_buckets_ms.empty())
    first_response_.emplace(options.first_response_buckets_ms);
}

void OptionalLatencies::RecordFirstResponse(std::int64_t ns) {
  constexpr double kNsPerMs = 1e6;
  if (first_response_) first_response_->Record(static_cast<double>(ns > 0 ? ns : 0) / kNsPerMs);
}

LatencySummary::Snapshot OptionalLatencies::ReadSummary(SummaryPhase phase,
                                                        std::span<const double> quantiles,
                                                        std::int64_t now_ns) const {
  if (summaries_ == nullptr) return {};
  return (*summaries_)[static_cast<std::size_t>(phase)].Read(quantiles, now_ns);
}

std::optional<BucketHistogram::Snapshot> OptionalLatencies::ReadFirstResponse() const {
  if (!first_response_) return std::nullopt;
  return first_response_->Read();
}

}  // namespace fastserve
