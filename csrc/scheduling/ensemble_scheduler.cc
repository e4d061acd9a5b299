#include "scheduling/ensemble_scheduler.h"

#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "scheduling/ensemble_members.h"
#include "scheduling/ensemble_run.h"

namespace fastserve {

namespace {

// Ensembles within ensembles; each level is a few frames of the stack.
constexpr int kMaxNesting = 64;

// Whether some step of the ensemble leads back to it, through ensembles that are loaded now.
bool IsStepOfItself(const ModelSpec& ensemble, const RequestRouter& router) {
  std::set<std::string_view> seen;
  std::vector<std::shared_ptr<const ModelSpec>> inner;  // ensembles found, each looked at in turn
  const ModelSpec* outer = &ensemble;
  for (std::size_t next = 0;; outer = inner[next++].get()) {
    for (const EnsembleStepSpec& step : outer->ensemble.steps) {
      if (step.model_name == ensemble.name) return true;
      const auto member = router.Find(step.model_name, step.model_version);
      if (!member.ok() || !(*member)->spec()->ensemble.enabled) continue;
      inner.push_back((*member)->spec());
      if (!seen.insert(inner.back()->name).second) inner.pop_back();
    }
    if (next == inner.size()) return false;
  }
}

// An error when the request came here through this very ensemble, or through too many, or may come
// back.
Status CheckNesting(const InferRequest& request, const ModelSpec& spec,
                    const RequestRouter& router) {
  const std::string& name = spec.name;
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
  // Places are waited for from the outer ensemble to the inner one. Where that goes round, two
  // requests could wait for each other's.
  if (spec.ensemble.max_inflight_requests != 0 && IsStepOfItself(spec, router))
    return Status::InvalidArgument("ensembles are steps of each other: " + path + " -> ... -> '" +
                                   name + "'");
  return Status::Ok();
}

// One level, in order of arrival, and the client's own timeout counts.
DynamicBatchingSpec RulesOfWaiting() {
  DynamicBatchingSpec rules;
  rules.default_queue_policy.timeout_action = TimeoutAction::kReject;
  rules.default_queue_policy.allow_timeout_override = true;
  return rules;
}

void FailLate(const std::vector<RequestPtr>& requests) {
  for (const RequestPtr& request : requests)
    request->Fail(Status::Unavailable("Request timeout expired"), FailureReason::kRejected);
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
      timer_(*options.timer),
      statistics_(std::move(options.statistics)),
      router_(*options.router),
      queue_(RulesOfWaiting()) {}

void EnsembleScheduler::Enqueue(const RequestPtr& request, bool lend) {
  request->timestamps.queue_start = clock_.NowNs();
  if (request->parent != nullptr) {
    if (Status status = CheckNesting(*request, *spec_, router_); !status.ok())
      return request->Fail(std::move(status), FailureReason::kOther);
  }
  if (!request->SetCancelHook(shared_from_this())) {
    return request->Fail(Status::Cancelled("request cancelled while it was queued"),
                         FailureReason::kCanceled);
  }
  // The caller's reference may be gone as soon as another thread can complete the request.
  const RequestPtr kept = request->shared_from_this();
  bool stopped = false;
  {
    const MutexLock lock(mutex_);
    stopped = stopped_;
    if (!stopped) {
      queue_.Push(kept);
      pending_.fetch_add(1, std::memory_order_relaxed);
      ArmTimerLocked();
    }
  }
  if (stopped) {
    return kept->Fail(Status::Unavailable("model '" + spec_->name + "' is being unloaded"),
                      FailureReason::kOther);
  }
  // Cancelled before it was queued: OnCancel did not find it.
  if (kept->cancelled()) OnCancel(kept);
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
    std::vector<RequestPtr> late;
    {
      const MutexLock lock(mutex_);
      late = TakeLateLocked();
      request = TakeNextLocked();
      if (request == nullptr) starting_ = false;
    }
    FailLate(late);
    if (request == nullptr) return;
    request->holds_instance.store(true, std::memory_order_relaxed);
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

std::vector<RequestPtr> EnsembleScheduler::TakeLateLocked() {
  std::vector<RequestPtr> late;
  // Without a limit nothing waits for room, only for its own thread.
  if (spec_->ensemble.max_inflight_requests == 0) return late;
  queue_.Expire(clock_.NowNs(), &late);
  pending_.fetch_sub(late.size(), std::memory_order_relaxed);
  return late;
}

void EnsembleScheduler::ArmTimerLocked() {
  const std::int64_t deadline_ns = queue_.next_deadline_ns();
  if (spec_->ensemble.max_inflight_requests == 0 || deadline_ns == 0) return;
  if (!armed_.Add(deadline_ns)) return;
  timer_.Schedule(deadline_ns, [weak = weak_from_this(), deadline_ns] {
    if (const auto scheduler = weak.lock()) scheduler->OnTimer(deadline_ns);
  });
}

void EnsembleScheduler::OnTimer(std::int64_t deadline_ns) {
  std::vector<RequestPtr> late;
  {
    const MutexLock lock(mutex_);
    armed_.Remove(deadline_ns);
    late = TakeLateLocked();
    ArmTimerLocked();
  }
  FailLate(late);
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
