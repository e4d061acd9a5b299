// The only façade of the core: models and their versions, submission, statistics, metrics text,
// drain. Front ends, the control plane and the in-process API use this header and nothing below it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "backend/inference_host.h"
#include "base/clock.h"
#include "base/status.h"
#include "cache/cache_options.h"
#include "inference/model_spec.h"
#include "inference/request.h"
#include "memory/byte_budget.h"
#include "scheduling/lender.h"

namespace fastserve {

class LoadedModel;  // engine/loaded_model.h
using LoadedModelPtr = std::shared_ptr<LoadedModel>;

struct EngineOptions {
  const Clock* clock = nullptr;          // null: SystemClock()
  std::uint64_t max_inflight_bytes = 0;  // 0: half of the cgroup (or machine) memory limit
  // TRITONSERVER_DELAY_SCHEDULER: batching holds until this many requests are queued once; 0 = off.
  // Test aid.
  std::uint32_t delay_scheduler_requests = 0;
  // TRITONSERVER_BACKLOG_DELAY_SCHEDULER: sequence batching holds until this many requests are in
  // the backlog once; 0 = off. Test aid.
  std::uint32_t backlog_delay_scheduler_requests = 0;
  // --metrics-config
  bool metrics_counter_latencies = true;
  bool metrics_histogram_latencies = false;
  std::vector<double> metrics_summary_quantiles;  // empty: no summaries
  // --rate-limit=execution_count, and --rate-limit-resource by lower-case name.
  bool rate_limit = false;
  std::map<std::string, std::uint32_t> rate_limit_resources;
  CacheOptions cache;  // --cache-config
};

enum class ModelState : std::uint8_t { kUnknown, kUnavailable, kReady };

// Thread safe. Destroyed after every front end; the destructor drains.
class Engine {
 public:
  static Result<std::unique_ptr<Engine>> Create(const EngineOptions& options);
  ~Engine();

  // --- backends
  // -----------------------------------------------------------------------------------------------
  // Any time, once per name, before a model needs it. Takes ownership.
  void RegisterBackend(std::unique_ptr<Backend> backend);
  bool HasBackend(std::string_view name) const;
  Result<ModelSignature> ReadSignature(const ModelSpec& spec);
  // The configuration (JSON) as the model itself completes it. Blocks. Errors: Unsupported when its
  // backend cannot ask it.
  Result<std::string> AutoComplete(const ModelSpec& spec);
  // For backends whose models call others. It may outlive the engine.
  std::shared_ptr<InferenceHost> inference_host() const;
  // Who answers InferenceHost::Control; never blocks. Once, before the first model is loaded.
  using ControlHandler = std::function<void(std::string, std::function<void(std::string)>)>;
  void SetControlHandler(ControlHandler handler);

  // --- models (called by the control plane; LoadModel and Drain block)
  // ------------------------------------------ Loads a version and starts its instances; requests
  // do not reach it before Publish.
  Result<LoadedModelPtr> LoadModel(std::shared_ptr<const ModelSpec> spec);
  // Replaces the published versions of a model by `versions` (empty: none are left, but the name
  // stays known), atomically for requests. Returns the versions that were published before and are
  // no more; drain and drop them.
  std::vector<LoadedModelPtr> Publish(const std::string& name,
                                      std::vector<LoadedModelPtr> versions);
  // Blocks until the model has no request in flight, or `timeout_ns` passed (negative: for ever).
  // True when empty.
  bool Drain(const LoadedModelPtr& model, std::int64_t timeout_ns);
  // version -1: the newest published. An ensemble is ready when all of its members are.
  ModelState model_state(std::string_view name, std::int64_t version) const;
  // True: a model that only CheckModelReady can tell of.
  bool readiness_is_asked(std::string_view name, std::int64_t version) const;
  // OK when the model is ready and says so itself where it can (is_ready of a Python model).
  // Blocks, for at most five seconds. Errors: NotFound; Unavailable with the reason.
  Status CheckModelReady(std::string_view name, std::int64_t version) const;
  // The resolved specification. Errors: NotFound with Triton's texts ("Request for unknown model:
  // ...").
  Result<std::shared_ptr<const ModelSpec>> FindModel(std::string_view name,
                                                     std::int64_t version) const;

  // --- requests
  // -------------------------------------------------------------------------------------------------
  // Takes the request (fields filled, sink set). Never blocks; every outcome, errors too, reaches
  // the sink, maybe before Submit returns. With a lender, a cheap model waits for lender->Run().
  void Submit(const RequestPtr& request, Lender* lender = nullptr);
  std::uint64_t inflight_requests() const;
  std::uint64_t inflight_bytes() const;
  // What --max-inflight-bytes bounds. A front end claims what it is receiving and gives it back
  // before it submits, which counts the inputs.
  const std::shared_ptr<ByteBudget>& byte_budget() const;

  // --- server state
  // ---------------------------------------------------------------------------------------------
  // Ready as the control plane computed it (--strict-readiness); live from Create to StopAccepting.
  void SetReady(bool ready);
  bool ready() const;
  bool live() const;
  // From now on Submit answers Unavailable; running requests go on.
  void StopAccepting();
  // Blocks until nothing is in flight or `timeout_ns` passed. True when empty.
  bool WaitIdle(std::int64_t timeout_ns);

  // --- statistics
  // -----------------------------------------------------------------------------------------------
  // The statistics extension's JSON object {"model_stats":[...]}; empty name: all models; version
  // -1: all versions. Errors: NotFound with Triton's texts.
  Result<std::string> StatisticsJson(std::string_view name, std::int64_t version) const;
  // Prometheus text of the core's own families (text/plain; version=0.0.4).
  std::string MetricsText() const;
  // Sets nv_model_load_duration_secs of a version.
  void SetLoadDuration(const LoadedModelPtr& model, double seconds);

  const Clock& clock() const;

 private:
  struct Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace fastserve
