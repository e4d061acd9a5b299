// A model whose workers are scripts of the test.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <semaphore>
#include <utility>
#include <vector>

#include "backend/worker/test_peer.h"
#include "backend/worker/worker_backend.h"
#include "support/requests.h"

namespace fastserve {

// Waits for one execution. Thread safe.
class AwaitedExecution final : public ExecutionObserver {
 public:
  explicit AwaitedExecution(std::vector<RequestPtr> requests) {
    execution.requests = std::move(requests);
    execution.batch_size = static_cast<std::int64_t>(execution.requests.size());
  }
  void OnExecuted(Execution* /*execution*/, Status executed) override {
    status = std::move(executed);
    done_.release();
  }
  const Status& Await() {
    done_.acquire();
    return status;
  }

  Execution execution;
  Status status;

 private:
  std::counting_semaphore<8> done_{0};
};

inline Status RunBatch(BackendInstance& instance, AwaitedExecution* awaited) {
  instance.Execute(&awaited->execution, awaited);
  return awaited->Await();
}

struct ScriptedModel {
  std::shared_ptr<ScriptedLauncher> launcher;
  std::unique_ptr<Backend> backend;
  std::unique_ptr<BackendModel> model;
  std::unique_ptr<BackendInstance> instance;

  // Executes one request with `value` and returns what it was answered.
  Status Run(float value, InferResponse* response) const {
    AwaitedExecution awaited({MakeRequest("r", std::make_shared<RecordingSink>(), value)});
    instance->Execute(&awaited.execution, &awaited);
    const Status status = awaited.Await();
    if (status.ok()) *response = std::move(awaited.execution.responses.at(0));
    return status;
  }
};

inline ScriptedModel LoadScripted(std::vector<PeerScript> scripts,
                                  std::shared_ptr<ModelSpec> spec = MakeSpec("python", 8),
                                  std::shared_ptr<InferenceHost> host = nullptr,
                                  const std::function<void(WorkerBackendOptions*)>& adjust = {}) {
  ScriptedModel loaded;
  loaded.launcher = std::make_shared<ScriptedLauncher>(std::move(scripts));
  WorkerBackendOptions options;
  options.launcher = loaded.launcher;
  options.host = std::move(host);
  options.times.first_backoff_ns = 1'000'000;
  options.times.stop_grace_ns = 10'000'000;
  options.times.finalize_limit_ns = 10'000'000;
  if (adjust) adjust(&options);
  loaded.backend = CreateWorkerBackend(std::move(options));
  auto model = loaded.backend->LoadModel(std::move(spec));
  EXPECT_TRUE(model.ok()) << model.status().message();
  loaded.model = std::move(*model);
  auto instance = loaded.model->CreateInstance("m_0");
  EXPECT_TRUE(instance.ok()) << instance.status().message();
  if (instance.ok()) loaded.instance = std::move(*instance);
  return loaded;
}

}  // namespace fastserve
