#include "engine/loaded_model.h"

#include <utility>

#include "inference/validation.h"
#include "scheduling/dynamic_batcher.h"
#include "scheduling/warm_up.h"
=======
#include "scheduling/sequence_batcher.h"

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

Status LoadedModel::Start(Backend* backend, const Environment& environment) {
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
  if (spec_->sequence_batching.enabled) return StartSequences(std::move(options), environment);
  scheduler_ = DynamicBatcher::Create(std::move(options));
  return Status::Ok();
}

Status LoadedModel::CreateInstances(const InstanceGroupSpec& group, RateLimiter* rate_limiter,
                                    DynamicBatcher::Options* options) {
  for (int i = 0; i < group.count; ++i) {
    const std::string name = group.name + "_" + std::to_string(i);
    FASTSERVE_ASSIGN_OR_RETURN(auto instance, options->backend_model->CreateInstance(name));
    FASTSERVE_RETURN_IF_ERROR(WarmUp(*spec_, instance.get()));
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

Status LoadedModel::StartSequences(DynamicBatcher::Options options,
                                   const Environment& environment) {
  SequenceBatcher::Options sequences;
  sequences.spec = spec_;
  sequences.backend_model = std::move(options.backend_model);
  sequences.instances = std::move(options.instances);
  sequences.claims = std::move(options.claims);
  sequences.clock = environment.clock;
  sequences.timer = environment.timer;
  sequences.statistics = statistics_;
  sequences.hold_until_queued = environment.hold_until_queued;
  sequences.hold_until_backlog = environment.hold_until_backlog;
  FASTSERVE_ASSIGN_OR_RETURN(scheduler_, SequenceBatcher::Create(std::move(sequences)));
  return Status::Ok();
}

bool LoadedModel::Submit(const RequestPtr& request, bool may_lend) {
  inflight_.Add();
  request->spec = spec_;
  request->completion_listener = shared_from_this();
  if (Status status = ValidateRequest(request.get()); !status.ok()) {
    request->input_bytes = 0;
    request->Fail(std::move(status), FailureReason::kOther);
    return false;
  }
  if (!budget_->TryTake(request->input_bytes)) {
    const std::size_t bytes = std::exchange(request->input_bytes, 0);
    request->Fail(Status::Unavailable("request of " + std::to_string(bytes) +
                                      " bytes: " + std::to_string(budget_->bytes()) + " of " +
                                      std::to_string(budget_->max_bytes()) +
                                      " bytes are in flight (--max-inflight-bytes)"),
                  FailureReason::kRejected);
    return false;
  }
  const bool lend = may_lend && scheduler_->lendable();
  scheduler_->Enqueue(request, lend);
  return lend;
}

void LoadedModel::OnCompleted(const InferRequest& request) {
  if (request.failed) {
    statistics_->RecordFailure(request.failure_reason,
                               clock_.NowNs() - request.timestamps.request_start);
  }
  budget_->GiveBack(request.input_bytes);
  budget_->requests().Done();
  inflight_.Done();
}

}  // namespace fastserve
