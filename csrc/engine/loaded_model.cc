#include "engine/loaded_model.h"

#include <span>
#include <utility>

#include "base/log.h"
#include "inference/call_chain.h"
#include "inference/validation.h"
#include "scheduling/dynamic_batcher.h"
#include "scheduling/ensemble_scheduler.h"
#include "scheduling/sequence_batcher.h"
#include "scheduling/warm_up.h"

namespace fastserve {

namespace {
// Tells the instances of a model that were loaded one after the other apart. Only has to be unique.
std::atomic<std::uint64_t> last_generation{0};

StatisticsOptions StatisticsFor(const ModelSpec& spec,
                                const LoadedModel::Environment& environment) {
  StatisticsOptions options;
  options.summaries = environment.summary_latencies;
  if (environment.histogram_latencies) {
    options.first_response_buckets_ms = spec.first_response_buckets_ms;
    // Triton's.
    if (options.first_response_buckets_ms.empty())
      options.first_response_buckets_ms = {100, 500, 2000, 5000};
  }
  return options;
}
}  // namespace

Result<std::shared_ptr<LoadedModel>> LoadedModel::Create(std::shared_ptr<const ModelSpec> spec,
                                                         Backend* backend,
                                                         const Environment& environment) {
  std::shared_ptr<LoadedModel> model(new LoadedModel(std::move(spec), environment));
  FASTSERVE_RETURN_IF_ERROR(model->Start(backend, environment));
  model->StartCaching(environment);
  return model;
}

LoadedModel::LoadedModel(std::shared_ptr<const ModelSpec> spec, const Environment& environment)
    : spec_(std::move(spec)),
      clock_(*environment.clock),
      budget_(environment.budget),
      statistics_(std::make_shared<ModelStatistics>(StatisticsFor(*spec_, environment))) {}

LoadedModel::~LoadedModel() { Stop(); }

void LoadedModel::Stop() {
  // First: what waits for a request that the scheduler fails must not come to the scheduler then.
  if (single_flight_) single_flight_->Stop();
  if (scheduler_) scheduler_->Stop();
  if (backend_model_) backend_model_->Stop();
}

void LoadedModel::CheckReady(const std::function<void(Status)>& done) {
  if (backend_model_ == nullptr) return done(Status::Ok());
  backend_model_->CheckReady(done);
}

Status LoadedModel::StartEnsemble(const Environment& environment) {
  capacity_ = spec_->ensemble.max_inflight_requests;
  EnsembleScheduler::Options options;
  options.spec = spec_;
  options.clock = environment.clock;
  options.timer = environment.timer;
  options.statistics = statistics_;
  options.router = environment.router;
  FASTSERVE_ASSIGN_OR_RETURN(scheduler_, EnsembleScheduler::Create(std::move(options)));
  return Status::Ok();
}

Status LoadedModel::Start(Backend* backend, const Environment& environment) {
  if (spec_->ensemble.enabled) return StartEnsemble(environment);
  FASTSERVE_ASSIGN_OR_RETURN(backend_model_, LoadBackend(backend));
  DynamicBatcher::Options options;
  options.spec = spec_;
  options.backend_model = backend_model_;
  options.clock = environment.clock;
  options.timer = environment.timer;
  options.statistics = statistics_;
  options.hold_until_queued = environment.hold_until_queued;
  options.rate_limiter = environment.rate_limiter;
  InstanceGroupSpec only;
  only.name = spec_->name;
  std::span<const InstanceGroupSpec> groups = spec_->instance_groups;
  if (groups.empty()) groups = {&only, 1};
  for (const InstanceGroupSpec& group : groups) {
    FASTSERVE_RETURN_IF_ERROR(CreateInstances(group, &options));
  }
  capacity_ = options.instances.size();
  if (spec_->sequence_batching.enabled) return StartSequences(std::move(options), environment);
  FASTSERVE_ASSIGN_OR_RETURN(scheduler_, DynamicBatcher::Create(std::move(options)));
  return Status::Ok();
}

// What a backend allocates and starts now belongs to all instances.
Result<std::shared_ptr<BackendModel>> LoadedModel::LoadBackend(Backend* backend) {
  const HostPolicyScope scope(CommonHostPolicy(*spec_));
  FASTSERVE_ASSIGN_OR_RETURN(std::unique_ptr<BackendModel> model, backend->LoadModel(spec_));
  return std::shared_ptr<BackendModel>(std::move(model));
}

Status LoadedModel::CreateInstances(const InstanceGroupSpec& group,
                                    DynamicBatcher::Options* options) {
  const HostPolicyScope scope(HostPolicyOf(group));
  for (int i = 0; i < group.count; ++i) {
    const std::string name = group.name + "_" + std::to_string(i);
    FASTSERVE_ASSIGN_OR_RETURN(auto instance, options->backend_model->CreateInstance(name));
    FASTSERVE_RETURN_IF_ERROR(WarmUp(*spec_, instance.get()));
    if (group.passive) {
      passive_instances_.push_back(std::move(instance));
      continue;
    }
    if (options->rate_limiter != nullptr) {
      FASTSERVE_ASSIGN_OR_RETURN(auto claim, options->rate_limiter->Register(group));
      options->claims.push_back(std::move(claim));
    }
    options->instances.push_back(std::move(instance));
    options->host_policies.push_back(HostPolicyOf(group));
  }
  return Status::Ok();
}

void LoadedModel::StartCaching(const Environment& environment) {
  if (!spec_->response_cache) return;
  if (environment.cache == nullptr) {
    LOG_WARNING("model '" + EscapeForLog(spec_->name) +
                "' asks for the response cache, but the server has none; start it with "
                "--cache-config=local,size=BYTES");
    return;
  }
  SingleFlight::Options options;
  options.cache = environment.cache;
  options.scope.generation = last_generation.fetch_add(1, std::memory_order_relaxed) + 1;
  options.scope.model_name = spec_->name;
  options.scope.model_version = spec_->version;
  options.scope.fingerprint = spec_->cache_fingerprint;
  options.spec = spec_;
  options.clock = &clock_;
  options.model = this;
  single_flight_ = std::make_shared<SingleFlight>(std::move(options));
}

Status LoadedModel::StartSequences(DynamicBatcher::Options options,
                                   const Environment& environment) {
  SequenceBatcher::Options sequences;
  sequences.spec = spec_;
  sequences.backend_model = std::move(options.backend_model);
  sequences.instances = std::move(options.instances);
  sequences.rate_limiter = std::move(options.rate_limiter);
  sequences.claims = std::move(options.claims);
  sequences.host_policies = std::move(options.host_policies);
  sequences.clock = environment.clock;
  sequences.timer = environment.timer;
  sequences.statistics = statistics_;
  sequences.hold_until_queued = environment.hold_until_queued;
  sequences.hold_until_backlog = environment.hold_until_backlog;
  FASTSERVE_ASSIGN_OR_RETURN(scheduler_, SequenceBatcher::Create(std::move(sequences)));
  return Status::Ok();
}

void LoadedModel::Submit(const RequestPtr& request, Lender* lender) {
  inflight_.Add();
  request->spec = spec_;
  request->completion_listener = shared_from_this();
  FailureReason reason = FailureReason::kOther;
  if (Status status = Admit(request.get(), &reason); !status.ok()) {
    request->input_bytes = 0;
    return request->Fail(std::move(status), reason);
  }
  const bool may_lend = lender != nullptr;
  const bool cacheable = single_flight_ && IsCacheable(*request);
  const bool lent =
      cacheable ? single_flight_->Submit(request, may_lend) : Compute(request, may_lend);
  // The lender's reference to the scheduler keeps this model alive.
  if (lent) lender->Add(std::shared_ptr<Scheduler>(shared_from_this(), scheduler_.get()));
}

bool LoadedModel::Compute(const RequestPtr& request, bool may_lend) {
  const bool lend = may_lend && scheduler_->lendable();
  scheduler_->Enqueue(request, lend);
  return lend;
}

Status LoadedModel::Admit(InferRequest* request, FailureReason* reason) {
  if (spec_->decoupled && !request->sink->decoupled_refusal().empty())
    return Status::Unsupported(std::string(request->sink->decoupled_refusal()));
  FASTSERVE_RETURN_IF_ERROR(ValidateRequest(request));
  if (CauseOf(*request) != nullptr)
    FASTSERVE_RETURN_IF_ERROR(CheckCallChain(*request, *spec_, capacity_));
  if (request->parent != nullptr) {
    request->input_bytes = 0;  // the parent's inputs are counted; what lies between steps is not
    return Status::Ok();
  }
  if (budget_->bytes()->TryTake(request->input_bytes)) return Status::Ok();
  *reason = FailureReason::kRejected;
  return budget_->bytes()->Refusal(request->input_bytes);
}

void LoadedModel::OnCacheHit(const CacheHit& hit) {
  statistics_->RecordCacheHit({hit.request_ns, hit.queue_ns, hit.lookup_ns}, clock_.NowNs());
}

void LoadedModel::OnCacheMiss(std::int64_t lookup_and_insert_ns) {
  statistics_->RecordCacheMiss(lookup_and_insert_ns, clock_.NowNs());
}

std::uint64_t LoadedModel::pending_requests() const {
  const std::uint64_t waiting = single_flight_ ? single_flight_->waiting_requests() : 0;
  return scheduler_->pending_requests() + waiting;
}

void LoadedModel::BeforeResponse(InferRequest* request) {
  RequestTimestamps& times = request->timestamps;
  times.response_start = clock_.NowNs();
  if (times.first_response == 0) times.first_response = times.response_start;
}

void LoadedModel::AfterResponse(InferRequest* request, ResponseKind kind) {
  RequestTimestamps& times = request->timestamps;
  if (times.compute_start == 0) return;  // failed before it was executed
  const std::int64_t begin = times.response_end == 0 ? times.compute_start : times.response_end;
  times.response_end = clock_.NowNs();
  statistics_->RecordResponse(request->response_count++, kind, times.response_start - begin,
                              times.response_end - times.response_start);
}

void LoadedModel::OnCompleted(const InferRequest& request) {
  if (request.failed) {
    statistics_->RecordFailure(request.failure_reason,
                               clock_.NowNs() - request.timestamps.request_start);
  } else if (spec_->decoupled) {
    statistics_->RecordDecoupled(request, clock_.NowNs());
  }
  budget_->bytes()->GiveBack(request.input_bytes);
  if (request.parent == nullptr) budget_->requests().Done();
  inflight_.Done();
}

}  // namespace fastserve
