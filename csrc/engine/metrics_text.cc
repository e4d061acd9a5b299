#include "engine/metrics_text.h"

namespace fastserve {

std::string MetricsToText(const std::vector<std::shared_ptr<LoadedModel>>& models, bool counter_latencies) {
  (void)models;
  (void)counter_latencies;
  return {};
}

}  // namespace fastserve
