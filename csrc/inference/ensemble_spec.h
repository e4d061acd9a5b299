// What the configuration says of an ensemble: its steps and the names that tie them together.
// Source: Triton's ModelEnsembling (model_config.proto), user guide ensemble_models.md.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace fastserve {

// One use of a member model. The maps go from the member's tensor name to the ensemble tensor.
struct EnsembleStepSpec {
  std::string model_name;
  std::int64_t model_version = -1;  // -1: the newest at the time of each request
  std::map<std::string, std::string> input_map;
  std::map<std::string, std::string> output_map;
};

struct EnsembleSpec {
  bool enabled = false;
  std::vector<EnsembleStepSpec> steps;
  // Between first step and answer; 0 = no limit. Of a request with a decoupled step also how many
  // of that one's responses may be on their way; 0 = 64.
  std::uint32_t max_inflight_requests = 0;
};

}  // namespace fastserve
