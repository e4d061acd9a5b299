// The limits of a model's workers, from the parameters of its configuration and the settings of its
// backend.
#pragma once

#include <cstdint>
#include <optional>

#include "base/status.h"
#include "inference/model_spec.h"

namespace fastserve {

// 0: no limit.
struct WorkerLimits {
  std::int64_t execution_timeout_ns = 0;  // EXECUTION_TIMEOUT_SECONDS
  std::uint64_t memory_limit_bytes = 0;   // MEMORY_LIMIT_BYTES
  std::uint64_t max_requests = 0;         // MAX_REQUESTS_BEFORE_RESTART
  // stub-timeout-seconds of --backend-config; nullopt: not given.
  std::optional<std::int64_t> initialize_limit_ns;
};

// From the model's parameters and the backend's settings. Errors: InvalidArgument, naming the
// parameter and what it can be.
Result<WorkerLimits> ReadWorkerLimits(const ModelSpec& spec);

}  // namespace fastserve
