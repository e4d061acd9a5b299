#include "engine/loaded_model.h"

#include <utility>

#include "inference/validation.h"
#include "scheduling/dynamic_batcher.h"
#include "scheduling/ensemble_scheduler.h"

namespace fastserve {

Result<std::shared_ptr<LoadedModel>> LoadedModel::Create(std::shared_ptr<const ModelSpec> spec,
                                                         Backend* backend,
                                                         const Environment& environment) {
  std::shared_ptr<LoadedModel> model(new LoadedModel(std::move(spec), environment));
  FASTSERVE_RETURN_IF_ERROR(model->Start(backend, environment));
  return model;
}

LoadedModel::LoadedModel(std::shared_ptr<const ModelSpec> spec, const Environment& environment)
    : spec_(std::move(spec)),
      clock_(*environment.clock),
      budget_(environment.budget),
      statistics_(std::make_shared<ModelStatistics>()) {}

LoadedModel::~LoadedModel() {
  if (scheduler_) scheduler_->Stop();
}

Status LoadedModel::StartEnsemble(const Environment& environment) {
  EnsembleScheduler::Options options;
  options.spec = spec_;
  options.clock = environment.clock;
  options.statistics = statistics_;
  options.router = environment.router;
  FASTSERVE_ASSIGN_OR_RETURN(scheduler_, EnsembleScheduler::Create(std::move(options)));
  return Status::Ok();
}

Status LoadedModel::Start(Backend* backend, const Environment& environment) {
  if (spec_->ensemble.enabled) return StartEnsemble(environment);
  FASTSERVE_ASSIGN_OR_RETURN(std::shared_ptr<BackendModel> backend_model,
                             backend->LoadModel(spec_));
  DynamicBatcher::Options options;
  options.spec = spec_;
  options.backend_model = backend_model;
  options.clock = environment.clock;
  options.timer = environment.timer;
  options.statistics = statistics_;
  options.hold_until_queued = environment.hold_until_queued;
  std::vector<InstanceGroupSpec> groups = spec_->instance_groups;
  if (groups.empty()) groups.emplace_back().name = spec_->name;
  for (const InstanceGroupSpec& group : groups) {
    FASTSERVE_RETURN_IF_ERROR(CreateInstances(group, environment.rate_limiter, &options));
  }
  scheduler_ = DynamicBatcher::Create(std::move(options));
  return Status::Ok();
}

Status LoadedModel::CreateInstances(const InstanceGroupSpec& group, RateLimiter* rate_limiter,
                                    DynamicBatcher::Options* options) {
  for (int i = 0; i < group.count; ++i) {
    const std::string name = group.name + "_" + std::to_string(i);
    FASTSERVE_ASSIGN_OR_RETURN(auto instance, options->backend_model->CreateInstance(name));
    if (group.passive) {
      passive_instances_.push_back(std::move(instance));
      continue;
    }
    for (int j = 0; rate_limiter != nullptr && j < instance->depth(); ++j) {
      FASTSERVE_ASSIGN_OR_RETURN(auto claim, rate_limiter->Register(group));
      options->claims.push_back(std::move(claim));
    }
    options->instances.push_back(std::move(instance));
  }
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
  const bool lend = lender != nullptr && scheduler_->lendable();
  scheduler_->Enqueue(request, lend);
  // The lender's reference to the scheduler keeps this model alive.
  if (lend) lender->Add(std::shared_ptr<Scheduler>(shared_from_this(), scheduler_.get()));
}

Status LoadedModel::Admit(InferRequest* request, FailureReason* reason) {
  FASTSERVE_RETURN_IF_ERROR(ValidateRequest(request));
  if (request->parent != nullptr) {
    request->input_bytes = 0;  // the parent's inputs are counted; what lies between steps is not
    return Status::Ok();
  }
  if (budget_->TryTake(request->input_bytes)) return Status::Ok();
  *reason = FailureReason::kRejected;
  return Status::Unavailable("request of " + std::to_string(request->input_bytes) +
                             " bytes: " + std::to_string(budget_->bytes()) + " of " +
                             std::to_string(budget_->max_bytes()) +
                             " bytes are in flight (--max-inflight-bytes)");
}

void LoadedModel::OnCompleted(const InferRequest& request) {
  if (request.failed) {
    statistics_->RecordFailure(request.failure_reason,
                               clock_.NowNs() - request.timestamps.request_start);
  }
  budget_->GiveBack(request.input_bytes);
  if (request.parent == nullptr) budget_->requests().Done();
  inflight_.Done();
}

}  // namespace fastserve
