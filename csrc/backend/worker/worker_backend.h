// Models written in Python, each instance in a worker process of its own
// (docs/design/005-python-backend.md): the backend "python", and backends made of a model.py.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/inference_host.h"
#include "backend/worker/worker_plan.h"

namespace fastserve {

struct WorkerBackendOptions {
  std::string name = "python";
  std::string interpreter;               // of models that bring none (ModelSpec::worker)
  std::string script;                    // the path of worker.py
  std::vector<std::string> environment;  // "NAME=value", added to the server's
  // A Python-based backend: the model.py that runs every model. Empty: each has its own.
  std::string model_path;
  std::shared_ptr<InferenceHost> host;  // null: models cannot call the server
  const Clock* clock = nullptr;         // null: SystemClock()
  WorkerTimes times;
  std::shared_ptr<WorkerLauncher> launcher;  // null: processes
};

std::unique_ptr<Backend> CreateWorkerBackend(WorkerBackendOptions options);

}  // namespace fastserve
