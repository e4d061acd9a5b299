// One loaded version of a model: its backend model, its scheduler, its statistics.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "backend/backend.h"
#include "cache/single_flight.h"
#include "concurrency/deadline_timer.h"
#include "engine/inflight_budget.h"
#include "inference/model_spec.h"
#include "inference/request.h"
#include "scheduling/dynamic_batcher.h"
#include "scheduling/lender.h"
#include "scheduling/model_statistics.h"
#include "scheduling/rate_limiter.h"
#include "scheduling/request_router.h"
#include "scheduling/scheduler.h"

namespace fastserve {

// Kept alive by the registry, by the control plane's handle and by each of its requests until that
// has completed. Thread safe.
class LoadedModel final : public CompletionListener,
                          private CachedModel,
                          public RequestTarget,
                          public std::enable_shared_from_this<LoadedModel> {
 public:
  struct Environment {
    const Clock* clock = nullptr;
    DeadlineTimer* timer = nullptr;
    std::shared_ptr<InflightBudget> budget;
    std::shared_ptr<ResponseCache> cache;  // null: the server has none
    const RequestRouter* router = nullptr;
    std::uint32_t hold_until_queued = 0;
    std::shared_ptr<RateLimiter> rate_limiter;  // null: no limits
    std::uint32_t hold_until_backlog = 0;
    bool summary_latencies = false;    // --metrics-config
    bool histogram_latencies = false;  // --metrics-config
  };

  // Loads the model and starts its instances. Blocks. `backend` is null for an ensemble. Errors:
  // the backend's.
  static Result<std::shared_ptr<LoadedModel>> Create(std::shared_ptr<const ModelSpec> spec,
                                                     Backend* backend,
                                                     const Environment& environment);
  ~LoadedModel() override;

  // Validates the request and answers it from the response cache, hands it to the scheduler, or
  // fails it.
  void Submit(const RequestPtr& request, Lender* lender) override;
  void BeforeResponse(InferRequest* request) override;
  void AfterResponse(InferRequest* request, ResponseKind kind) override;
  void OnCompleted(const InferRequest& request) override;
  // Ends the scheduler; what waits fails. Idempotent. Blocks.
  void Stop();

  Scheduler& scheduler() { return *scheduler_; }
  const Scheduler& scheduler() const { return *scheduler_; }
  const std::shared_ptr<const ModelSpec>& spec() const override { return spec_; }
  // Not OK, with the reason, while no instance can execute.
  Status Ready() const { return backend_model_ ? backend_model_->Ready() : Status::Ok(); }
  bool readiness_is_asked() const {
    return backend_model_ != nullptr && backend_model_->readiness_is_asked();
  }
  // As BackendModel::CheckReady.
  void CheckReady(const std::function<void(Status)>& done);
  std::optional<WorkerCounts> worker_counts() const {
    return backend_model_ ? backend_model_->worker_counts() : std::nullopt;
  }
  const ModelStatistics& statistics() const { return *statistics_; }
  InflightCounter& inflight() { return inflight_; }
  // Requests that wait to be executed, or for the response of an identical one.
  std::uint64_t pending_requests() const;
  bool caches_responses() const { return single_flight_ != nullptr; }

  void set_load_seconds(double seconds) { load_seconds_.store(seconds, std::memory_order_relaxed); }
  double load_seconds() const { return load_seconds_.load(std::memory_order_relaxed); }

 private:
  LoadedModel(std::shared_ptr<const ModelSpec> spec, const Environment& environment);
  Status Start(Backend* backend, const Environment& environment);
  Result<std::shared_ptr<BackendModel>> LoadBackend(Backend* backend);
  Status CreateInstances(const InstanceGroupSpec& group, DynamicBatcher::Options* options);
  // `options`: what both batchers need.
  Status StartSequences(DynamicBatcher::Options options, const Environment& environment);
  Status StartEnsemble(const Environment& environment);
  void StartCaching(const Environment& environment);
  // Validation and the budget.
  Status Admit(InferRequest* request, FailureReason* reason);

  // CachedModel
  bool Compute(const RequestPtr& request, bool may_lend) override;
  void OnCacheHit(const CacheHit& hit) override;
  void OnCacheMiss(std::int64_t lookup_and_insert_ns) override;

  const std::shared_ptr<const ModelSpec> spec_;
  const Clock& clock_;
  const std::shared_ptr<InflightBudget> budget_;
  const std::shared_ptr<ModelStatistics> statistics_;
  InflightCounter inflight_;
  std::atomic<double> load_seconds_{0.0};
  // What it can run at once, in the sense of CheckCallChain.
  std::size_t capacity_ = 0;
  std::shared_ptr<BackendModel> backend_model_;  // outlives the passive instances
  std::vector<std::unique_ptr<BackendInstance>> passive_instances_;
  std::shared_ptr<Scheduler> scheduler_;
  std::shared_ptr<SingleFlight> single_flight_;  // null: responses are not cached
};

}  // namespace fastserve
