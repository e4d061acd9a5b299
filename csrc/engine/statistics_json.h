// The statistics extension's JSON. Source: Triton protocol extension_statistics.md.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/loaded_model.h"

namespace fastserve {

// {"model_stats":[...]}, one object per model version.
std::string StatisticsToJson(const std::vector<std::shared_ptr<LoadedModel>>& models);

}  // namespace fastserve
