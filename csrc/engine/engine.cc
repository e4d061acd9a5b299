#include "engine/engine.h"

#include <algorithm>
#include <atomic>
#include <future>
#include <map>
#include <utility>

#include "base/mutex.h"
#include "cache/response_cache.h"
#include "concurrency/deadline_timer.h"
#include "engine/engine_host.h"
#include "engine/inflight_budget.h"
#include "engine/loaded_model.h"
#include "engine/metrics_text.h"
#include "engine/model_registry.h"
#include "engine/statistics_json.h"

namespace fastserve {

namespace {

// Whether a model and, where it is an ensemble, all of its members can serve. Used once.
class ReadinessCheck {
 public:
  explicit ReadinessCheck(const ModelRegistry& registry) : registry_(registry) {}

  bool IsReady(const std::string& name, std::int64_t version) {
    const auto model = registry_.Find(name, version);
    if (!model.ok()) return false;
    const std::vector<EnsembleStepSpec>& steps = (*model)->spec()->ensemble.steps;
    if (steps.empty()) return (*model)->Ready().ok();
    // Not ready while it is looked at: an ensemble that contains itself never is.
    const auto [known, first_look] = ready_.try_emplace({name, version}, false);
    if (!first_look) return known->second;
    known->second = std::ranges::all_of(steps, [this](const EnsembleStepSpec& step) {
      return IsReady(step.model_name, step.model_version);
    });
    return known->second;
  }

 private:
  const ModelRegistry& registry_;
  std::map<std::pair<std::string, std::int64_t>, bool> ready_;  // ensembles
};

}  // namespace

// Destruction order matters: the registry's models stop before the timer and the backends go.
struct Engine::Impl final : public RequestRouter {
  Impl(const EngineOptions& engine_options, const Clock& engine_clock)
      : options(engine_options),
        clock(engine_clock),
        timer(engine_clock),
        budget(std::make_shared<InflightBudget>(engine_options.max_inflight_bytes != 0
                                                    ? engine_options.max_inflight_bytes
                                                    : DefaultInflightBytes())),
        rate_limiter(engine_options.rate_limit
                         ? std::make_shared<RateLimiter>(engine_options.rate_limit_resources)
                         : nullptr),
        cache(CreateResponseCache(engine_options.cache, engine_clock)),
        host(std::make_shared<EngineHost>()) {}

  Result<std::shared_ptr<RequestTarget>> Find(std::string_view name,
                                              std::int64_t version) const override {
    FASTSERVE_ASSIGN_OR_RETURN(LoadedModelPtr model, registry.Find(name, version));
    return std::shared_ptr<RequestTarget>(std::move(model));
  }

  // Null when there is none of that name.
  Backend* FindBackend(std::string_view name) {
    const MutexLock lock(backends_mutex);
    const auto found = backends.find(name);
    return found == backends.end() ? nullptr : found->second.get();
  }

  const EngineOptions options;
  const Clock& clock;
  Mutex backends_mutex;
  std::map<std::string, std::unique_ptr<Backend>, std::less<>> backends GUARDED_BY(backends_mutex);
  DeadlineTimer timer;
  const std::shared_ptr<InflightBudget> budget;
  const std::shared_ptr<RateLimiter> rate_limiter;  // null: no limits
  const std::shared_ptr<ResponseCache> cache;       // null: there is none
  const std::shared_ptr<EngineHost> host;
  ModelRegistry registry;
  std::atomic<bool> ready{false};
  std::atomic<bool> accepting{true};
};

Result<std::unique_ptr<Engine>> Engine::Create(const EngineOptions& options) {
  const Clock& clock = options.clock != nullptr ? *options.clock : SystemClock();
  return std::unique_ptr<Engine>(new Engine(std::make_unique<Impl>(options, clock)));
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) { impl_->host->Attach(this); }

Engine::~Engine() {
  StopAccepting();
  impl_->host->Detach();
  // Before the schedulers: what waits for a lookup goes on to them.
  if (impl_->cache) impl_->cache->Stop();
  auto models = impl_->registry.List("", -1);
  if (!models.ok()) return;
  // Nothing is found any more before the first scheduler stops: no step goes to one that has.
  for (const LoadedModelPtr& model : *models)
    (void)impl_->registry.Publish(model->spec()->name, {});
  // Twice: a step may have been on its way to a scheduler that had already stopped. The first round
  // has joined every thread that could submit one.
  for (int round = 0; round < 2; ++round) {
    for (const LoadedModelPtr& model : *models) model->Stop();
  }
}

void Engine::RegisterBackend(std::unique_ptr<Backend> backend) {
  const MutexLock lock(impl_->backends_mutex);
  const std::string name(backend->name());
  impl_->backends[name] = std::move(backend);
}

bool Engine::HasBackend(std::string_view name) const { return impl_->FindBackend(name) != nullptr; }

namespace {
Status NoBackend(const ModelSpec& spec) {
  return Status::InvalidArgument("model '" + spec.name + "': unable to find backend '" +
                                 spec.backend + "'");
}
}  // namespace

Result<ModelSignature> Engine::ReadSignature(const ModelSpec& spec) {
  Backend* backend = impl_->FindBackend(spec.backend);
  if (backend == nullptr) return NoBackend(spec);
  return backend->ReadSignature(spec);
}

Result<std::string> Engine::AutoComplete(const ModelSpec& spec) {
  Backend* backend = impl_->FindBackend(spec.backend);
  if (backend == nullptr) return NoBackend(spec);
  return backend->AutoComplete(spec);
}

std::shared_ptr<InferenceHost> Engine::inference_host() const { return impl_->host; }

void Engine::SetControlHandler(ControlHandler handler) {
  impl_->host->SetControlHandler(std::move(handler));
}

Result<LoadedModelPtr> Engine::LoadModel(std::shared_ptr<const ModelSpec> spec) {
  Backend* backend = impl_->FindBackend(spec->backend);
  if (backend == nullptr && !spec->ensemble.enabled) return NoBackend(*spec);
  LoadedModel::Environment environment;
  environment.clock = &impl_->clock;
  environment.timer = &impl_->timer;
  environment.budget = impl_->budget;
  environment.rate_limiter = impl_->rate_limiter;
  environment.cache = impl_->cache;
  environment.router = impl_.get();
  environment.hold_until_queued = impl_->options.delay_scheduler_requests;
  environment.hold_until_backlog = impl_->options.backlog_delay_scheduler_requests;
  environment.summary_latencies = !impl_->options.metrics_summary_quantiles.empty();
  environment.histogram_latencies = impl_->options.metrics_histogram_latencies;
  return LoadedModel::Create(std::move(spec), backend, environment);
}

std::vector<LoadedModelPtr> Engine::Publish(const std::string& name,
                                            std::vector<LoadedModelPtr> versions) {
  return impl_->registry.Publish(name, std::move(versions));
}

bool Engine::Drain(const LoadedModelPtr& model, std::int64_t timeout_ns) {
  return model->inflight().WaitForNone(timeout_ns);
}

ModelState Engine::model_state(std::string_view name, std::int64_t version) const {
  if (ReadinessCheck(impl_->registry).IsReady(std::string(name), version))
    return ModelState::kReady;
  return impl_->registry.Knows(name) ? ModelState::kUnavailable : ModelState::kUnknown;
}

bool Engine::readiness_is_asked(std::string_view name, std::int64_t version) const {
  const Result<LoadedModelPtr> model = impl_->registry.Find(name, version);
  return model.ok() && (*model)->readiness_is_asked();
}

Status Engine::CheckModelReady(std::string_view name, std::int64_t version) const {
  FASTSERVE_ASSIGN_OR_RETURN(const LoadedModelPtr model, impl_->registry.Find(name, version));
  if (model_state(name, version) != ModelState::kReady) {
    const Status ready = model->Ready();
    return ready.ok() ? Status::Unavailable("model '" + std::string(name) + "' is not ready")
                      : ready;
  }
  const auto answer = std::make_shared<std::promise<Status>>();
  model->CheckReady([answer](Status status) { answer->set_value(std::move(status)); });
  return answer->get_future().get();
}

Result<std::shared_ptr<const ModelSpec>> Engine::FindModel(std::string_view name,
                                                           std::int64_t version) const {
  FASTSERVE_ASSIGN_OR_RETURN(const LoadedModelPtr model, impl_->registry.Find(name, version));
  return model->spec();
}

void Engine::Submit(const RequestPtr& request, Lender* lender) {
  if (request->timestamps.request_start == 0)
    request->timestamps.request_start = impl_->clock.NowNs();
  impl_->budget->requests().Add();
  Status refusal;
  // What a running request calls belongs to it.
  if (!impl_->accepting.load(std::memory_order_seq_cst) && request->caller == nullptr) {
    refusal = Status::Unavailable("Server is stopping, model '" + request->model_name +
                                  "' accepts no new inference requests");
  } else if (auto model = impl_->registry.Find(request->model_name, request->model_version);
             !model.ok()) {
    refusal = model.status();
  } else {
    return (*model)->Submit(request, lender);
  }
  request->Fail(std::move(refusal), FailureReason::kRejected);
  impl_->budget->requests().Done();
}

std::uint64_t Engine::inflight_requests() const { return impl_->budget->requests().count(); }
std::uint64_t Engine::inflight_bytes() const { return impl_->budget->bytes()->used_bytes(); }
const std::shared_ptr<ByteBudget>& Engine::byte_budget() const { return impl_->budget->bytes(); }

void Engine::SetReady(bool ready) { impl_->ready.store(ready, std::memory_order_relaxed); }
bool Engine::ready() const { return impl_->ready.load(std::memory_order_relaxed) && live(); }
bool Engine::live() const { return impl_->accepting.load(std::memory_order_relaxed); }
void Engine::StopAccepting() { impl_->accepting.store(false, std::memory_order_seq_cst); }
bool Engine::WaitIdle(std::int64_t timeout_ns) {
  return impl_->budget->requests().WaitForNone(timeout_ns);
}

Result<std::string> Engine::StatisticsJson(std::string_view name, std::int64_t version) const {
  FASTSERVE_ASSIGN_OR_RETURN(const auto models, impl_->registry.List(name, version));
  return StatisticsToJson(models);
}

std::string Engine::MetricsText() const {
  const auto models = impl_->registry.List("", -1);
  MetricsOptions options;
  options.counter_latencies = impl_->options.metrics_counter_latencies;
  options.summary_quantiles = impl_->options.metrics_summary_quantiles;
  options.now_ns = impl_->clock.NowNs();
  if (impl_->cache) options.cache_bytes = impl_->cache->used_bytes();
  return MetricsToText(models.ok() ? *models : std::vector<LoadedModelPtr>{}, options);
}

void Engine::SetLoadDuration(const LoadedModelPtr& model, double seconds) {
  model->set_load_seconds(seconds);
}

const Clock& Engine::clock() const { return impl_->clock; }

}  // namespace fastserve
