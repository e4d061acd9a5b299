// The core's own Prometheus families. Names and labels: Triton's user guide metrics.md; see
// docs/metrics.md.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/loaded_model.h"

namespace fastserve {

struct MetricsOptions {
  // False leaves out the duration counters (--metrics-config counter_latencies=false).
  bool counter_latencies = true;
  // Those of the summaries (--metrics-config summary_quantiles); empty: there are none.
  std::vector<double> summary_quantiles;
  std::int64_t now_ns = 0;  // Clock::NowNs(), for the window of the summaries
  // What the response cache holds in this process; nullopt: there is none.
  std::optional<std::uint64_t> cache_bytes;
};

std::string MetricsToText(const std::vector<std::shared_ptr<LoadedModel>>& models,
                          const MetricsOptions& options);

}  // namespace fastserve
