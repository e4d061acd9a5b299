// How the workers of one instance are started, time after time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "backend/inference_host.h"
#include "backend/worker/worker_limits.h"
#include "backend/worker/worker_process.h"
#include "base/clock.h"
#include "inference/model_spec.h"

namespace fastserve {

// The times of supervision; tests have shorter ones.
struct WorkerTimes {
  // From its start until the model is initialized, or its configuration completed; 0: no limit.
  // Weights may be loaded meanwhile, or downloaded.
  std::int64_t initialize_limit_ns = 1'800'000'000'000;
  std::int64_t first_backoff_ns = 100'000'000;
  std::int64_t longest_backoff_ns = 30'000'000'000;
  std::int64_t long_life_ns = 10'000'000'000;  // after it the back-off begins anew
  // For a worker that has had enough requests to become idle; then it goes on.
  std::int64_t drain_limit_ns = 5'000'000'000;
  std::int64_t stop_grace_ns = 5'000'000'000;  // for what runs when the model is stopped
  std::int64_t finalize_limit_ns = 30'000'000'000;
};

struct WorkerPlan {
  std::shared_ptr<const ModelSpec> spec;
  std::string instance_name;
  WorkerCommand command;
  std::string initialize;  // the body of INITIALIZE
  WorkerLimits limits;
  WorkerTimes times;
  std::shared_ptr<WorkerLauncher> launcher;
  std::shared_ptr<InferenceHost> host;  // may be null
  const Clock* clock = nullptr;         // outlives the instance
};

// What the model file and the folders around it are.
struct InitializeOptions {
  std::string model_path;
  std::string instance_name;
  bool auto_complete = false;
  std::uint64_t memory_limit_bytes = 0;
};
std::string InitializeJson(const ModelSpec& spec, const InitializeOptions& options);

// The most verbose level that is logged now, as a number of the wire.
int WorkerLogLevel();

}  // namespace fastserve
