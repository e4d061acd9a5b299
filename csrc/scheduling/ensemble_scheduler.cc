#include "scheduling/ensemble_scheduler.h"

#include <utility>
#include <vector>

#include "scheduling/ensemble_members.h"
#include "scheduling/ensemble_run.h"

namespace fastserve {

namespace {

// Ensembles within ensembles; each level is a few frames of the stack.
constexpr int kMaxNesting = 64;

// An error when the request came here through this very ensemble, or through too many.
Status CheckNesting(const InferRequest& request, const std::string& name) {
  int depth = 0;
  std::string path = "'" + name + "'";
  for (const InferRequest* outer = request.parent.get(); outer != nullptr;
       outer = outer->parent.get()) {
    path.insert(0, "'" + outer->spec->name + "' -> ");
    if (outer->spec->name == name)
      return Status::InvalidArgument("ensembles are steps of each other: " + path);
    if (++depth == kMaxNesting) {
      return Status::InvalidArgument("ensemble '" + name + "' is nested more than " +
                                     std::to_string(kMaxNesting) + " deep");
    }
  }
  return Status::Ok();
}

}  // namespace

Result<std::shared_ptr<EnsembleScheduler>> EnsembleScheduler::Create(Options options) {
  const ModelSpec& spec = *options.spec;
  FASTSERVE_ASSIGN_OR_RETURN(EnsembleGraph graph, EnsembleGraph::Create(spec));
  std::vector<std::shared_ptr<const ModelSpec>> members;
  for (const EnsembleGraph::Step& step : graph.steps()) {
    const auto member = options.router->Find(step.model_name, step.model_version);
    members.push_back(member.ok() ? (*member)->spec() : nullptr);
  }
  FASTSERVE_RETURN_IF_ERROR(CheckMembers(spec, graph, members));
  return std::shared_ptr<EnsembleScheduler>(
      new EnsembleScheduler(std::move(options), std::move(graph)));
}

EnsembleScheduler::EnsembleScheduler(Options options, EnsembleGraph graph)
    : spec_(std::move(options.spec)),
      graph_(std::move(graph)),
      clock_(*options.clock),
      statistics_(std::move(options.statistics)),
      router_(*options.router),
      queue_(spec_->dynamic_batching) {}

void EnsembleScheduler::Enqueue(const RequestPtr& request, bool lend) {
  request->timestamps.queue_start = clock_.NowNs();
  if (request->parent != nullptr) {
    if (Status status = CheckNesting(*request, spec_->name); !status.ok())
      return request->Fail(std::move(status), FailureReason::kOther);
  }
  // One that is cancelled already is noticed when it starts.
  request->SetCancelHook(shared_from_this());
  bool stopped = false;
  {
    const MutexLock lock(mutex_);
    stopped = stopped_;
    if (!stopped) {
      queue_.Push(request);
      pending_.fetch_add(1, std::memory_order_relaxed);
    }
  }
  if (stopped) {
    return request->Fail(Status::Unavailable("model '" + spec_->name + "' is being unloaded"),
                         FailureReason::kOther);
  }
  if (!lend) StartWaiting();
}

bool EnsembleScheduler::RunLent() {
  StartWaiting();
  return false;
}

void EnsembleScheduler::StartWaiting() {
  {
    const MutexLock lock(mutex_);
    if (starting_) return;
    starting_ = true;
  }
  for (;;) {
    RequestPtr request;
    {
      const MutexLock lock(mutex_);
      request = TakeNextLocked();
      if (request == nullptr) {
        starting_ = false;
        return;
      }
    }
    std::make_shared<EnsembleRun>(shared_from_this(), std::move(request))->Start();
  }
}

RequestPtr EnsembleScheduler::TakeNextLocked() {
  const std::uint32_t limit = spec_->ensemble.max_inflight_requests;
  if (queue_.empty() || (limit != 0 && running_ >= limit)) return nullptr;
  ++running_;
  pending_.fetch_sub(1, std::memory_order_relaxed);
  return queue_.Remove(queue_.front());
}

void EnsembleScheduler::OnRunEnded() {
  {
    const MutexLock lock(mutex_);
    --running_;
  }
  StartWaiting();
}

void EnsembleScheduler::OnCancel(const RequestPtr& request) {
  RequestPtr taken;
  {
    const MutexLock lock(mutex_);
    taken = queue_.Remove(request.get());
    if (taken == nullptr) return;
    pending_.fetch_sub(1, std::memory_order_relaxed);
  }
  taken->Fail(Status::Cancelled("request cancelled while it was queued"), FailureReason::kCanceled);
}

void EnsembleScheduler::Stop() {
  std::vector<RequestPtr> waiting;
  {
    const MutexLock lock(mutex_);
    stopped_ = true;
    while (!queue_.empty()) waiting.push_back(queue_.Remove(queue_.front()));
    pending_.fetch_sub(waiting.size(), std::memory_order_relaxed);
  }
  for (const RequestPtr& request : waiting) {
    request->Fail(Status::Unavailable("model '" + spec_->name + "' is being unloaded"),
                  FailureReason::kOther);
  }
}

}  // namespace fastserve
