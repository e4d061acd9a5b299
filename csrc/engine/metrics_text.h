// The core's own Prometheus families. Names and labels: Triton's user guide metrics.md; see
// docs/metrics.md.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/loaded_model.h"

namespace fastserve {

// `counter_latencies` false leaves out the duration counters (--metrics-config
// counter_latencies=false).
std::string MetricsToText(const std::vector<std::shared_ptr<LoadedModel>>& models,
                          bool counter_latencies);

}  // namespace fastserve
