#include "scheduling/sequence_batcher.h"

#include <string>
#include <utility>

#include "scheduling/sequence_request.h"

namespace fastserve {

Result<std::shared_ptr<SequenceBatcher>> SequenceBatcher::Create(Options options) {
  FASTSERVE_ASSIGN_OR_RETURN(auto states, SequenceStates::Create(options.spec));
  std::shared_ptr<SequenceBatcher> batcher(
      new SequenceBatcher(std::move(options), std::move(states)));
  Status status = batcher->Start();
  if (status.ok()) return batcher;
  batcher->Stop();
  return status;
}

SequenceBatcher::SequenceBatcher(Options options, std::unique_ptr<SequenceStates> states)
    : rate_limiter_(std::move(options.rate_limiter)),
      spec_(std::move(options.spec)),
      clock_(*options.clock),
      timer_(*options.timer),
      statistics_(std::move(options.statistics)),
      states_(std::move(states)),
      policy_(spec_, *states_),
      assembler_(spec_, *states_),
      table_({options.instances.size(), policy_.places_per_instance(),
              NsFromUs(spec_->sequence_batching.max_sequence_idle_us)}),
      hold_until_queued_(options.hold_until_queued),
      hold_until_backlog_(options.hold_until_backlog),
      backend_model_(std::move(options.backend_model)),
      backend_instances_(std::move(options.instances)),
      claims_(std::move(options.claims)),
      host_policies_(std::move(options.host_policies)) {}

SequenceBatcher::~SequenceBatcher() = default;

Status SequenceBatcher::Start() {
  for (std::size_t i = 0; i < backend_instances_.size(); ++i) {
    instances_.push_back(std::make_unique<Instance>());
    if (!claims_.empty()) {
      instances_[i]->claim = claims_[i].get();
      instances_[i]->claim->set_on_reserved([this] { OnReserved(); });
    }
    instances_[i]->runner = std::make_unique<SequenceRunner>(this, i, backend_instances_[i].get());
  }
  for (std::size_t i = 0; i < instances_.size(); ++i) {
    FASTSERVE_ASSIGN_OR_RETURN(
        WorkerThread worker, WorkerThread::TryStart("fs-instance", [self = shared_from_this(), i] {
          self->WorkerLoop(i);
        }));
    workers_.push_back(std::move(worker));
  }
  return Status::Ok();
}

void SequenceBatcher::Stop() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
    for (const auto& instance : instances_) instance->work.NotifyAll();
  }
  for (WorkerThread& worker : workers_) worker.JoinOrLetGo();
  for (const auto& instance : backend_instances_) instance->Stop();
  std::vector<RequestPtr> waiting;
  {
    const MutexLock lock(mutex_);
    table_.TakeAll(&waiting);
    for (const auto& instance : instances_) {
      if (instance->claim != nullptr && !instance->busy) instance->claim->Withdraw();
    }
    pending_.store(0, std::memory_order_relaxed);
  }
  FailStopped(waiting);
}

void SequenceBatcher::Enqueue(const RequestPtr& request, bool /*lend*/) {
  Status status = CheckSequenceRequest(*request);
  request->timestamps.queue_start = clock_.NowNs();
  bool cancelled = false;
  if (status.ok()) {
    request->SetCancelHook(shared_from_this());
    const MutexLock lock(mutex_);
    status = AddLocked(request);
    // One that was cancelled before the table had it: nobody else takes it out.
    std::vector<RequestPtr> none;
    cancelled = status.ok() && request->cancelled() &&
                table_.Remove(request, request->timestamps.queue_start, &none);
    PublishLocked();
  }
  if (cancelled) {
    request->Fail(Status::Cancelled("request cancelled while it was queued"),
                  FailureReason::kCanceled);
  } else if (!status.ok()) {
    request->Fail(std::move(status), FailureReason::kOther);
  }
}

Status SequenceBatcher::AddLocked(const RequestPtr& request) {
  if (stopping_) return Status::Unavailable("model '" + spec_->name + "' is being unloaded");
  if (!HasSequenceId(*request)) ChooseIdLocked(request.get());
  if (table_.Add(request, clock_.NowNs())) return Status::Ok();
  return SequenceNotStarted(*request);
}

// A request to an iterative model that names no sequence is a sequence of its own.
void SequenceBatcher::ChooseIdLocked(InferRequest* request) {
  bool text = false;
  for (const ControlSpec& control : spec_->sequence_batching.controls)
    text |= control.kind == ControlKind::kCorrelationId && control.type == DataType::kBytes;
  do {
    last_chosen_id_ = last_chosen_id_ % INT32_MAX + 1;  // fits every type of control
    if (text) {
      request->sequence_id = std::to_string(last_chosen_id_);
    } else {
      request->sequence_id = last_chosen_id_;
    }
  } while (table_.Contains(request->sequence_id));
  request->sequence_start = true;
  request->sequence_end = true;
}

void SequenceBatcher::WorkerLoop(std::size_t index) {
  const HostPolicyScope scope(host_policies_.empty() ? nullptr : host_policies_[index]);
  for (;;) {
    SequenceRows rows = AwaitBatch(index);
    if (rows.empty()) return;
    instances_[index]->runner->Run(std::move(rows));
  }
}

SequenceRows SequenceBatcher::AwaitBatch(std::size_t index) {
  const MutexLock lock(mutex_);
  while (!stopping_) {
    SequenceRows rows = TryFormLocked(index);
    if (!rows.empty()) return rows;
    instances_[index]->work.Wait(mutex_);
  }
  return {};
}

bool SequenceBatcher::HoldsLocked() {
  if (hold_until_queued_ == 0 && hold_until_backlog_ == 0) return false;
  const std::size_t backlog = table_.CountBacklogRequests();
  if (table_.waiting() - backlog < hold_until_queued_ || backlog < hold_until_backlog_) return true;
  hold_until_queued_ = hold_until_backlog_ = 0;
  return false;
}

SequenceRows SequenceBatcher::TryFormLocked(std::size_t index) {
  Instance& instance = *instances_[index];
  if (instance.busy || HoldsLocked()) return {};
  SequenceChoice choice = policy_.Choose(table_.ready(index), clock_.NowNs());
  if (choice.ready_at_ns != 0) {
    ArmTimerLocked(choice.ready_at_ns);
    return {};
  }
  if (choice.rows.empty()) {
    if (instance.claim != nullptr) instance.claim->Withdraw();  // without work no place in line
    return {};
  }
  if (instance.claim != nullptr && !instance.claim->TryTake()) return {};
  instance.busy = true;
  const auto resources = instance.claim == nullptr ? nullptr : instance.claim->resources();
  for (Sequence* row : choice.rows) {
    if (row == nullptr) continue;
    table_.Begin(row);
    if (resources != nullptr) row->running->SetExecutionResources(resources);
  }
  pending_.store(table_.waiting(), std::memory_order_relaxed);
  return std::move(choice.rows);
}

void SequenceBatcher::GiveBackLocked(Sequence* sequence, bool wants_again, Dropped* dropped) {
  const RequestPtr request = sequence->running;
  const bool cancelled = request->cancelled();
  const bool again = wants_again && !cancelled && !stopping_;
  const std::int64_t now_ns = clock_.NowNs();
  if (again) {
    request->sequence_start = false;
    request->timestamps.queue_start = now_ns;
  } else if (wants_again) {
    (cancelled ? dropped->cancelled : dropped->stopped).push_back(request);
  }
  table_.Finish(sequence, again, now_ns);
}

void SequenceBatcher::FinishBatch(std::size_t index, const SequenceRows& rows,
                                  const std::vector<bool>& rescheduled) {
  Dropped dropped;
  ResourceClaim* const claim = instances_[index]->claim;
  if (claim != nullptr) claim->GiveBack();
  {
    const MutexLock lock(mutex_);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const bool wants_again = i < rescheduled.size() && rescheduled[i];
      if (rows[i] != nullptr) GiveBackLocked(rows[i], wants_again, &dropped);
    }
    Instance& instance = *instances_[index];
    instance.busy = false;
    PublishLocked();
  }
  FailStopped(dropped.stopped);
  for (const RequestPtr& request : dropped.cancelled) {
    request->Fail(Status::Cancelled("request cancelled while it was rescheduled"),
                  FailureReason::kCanceled);
  }
}

void SequenceBatcher::PublishLocked() {
  pending_.store(table_.waiting(), std::memory_order_relaxed);
  if (const std::int64_t expiry_ns = table_.next_expiry_ns(); expiry_ns != 0)
    ArmTimerLocked(expiry_ns);
  for (std::size_t i = 0; i < instances_.size(); ++i) {
    Instance& instance = *instances_[i];
    if (instance.busy) continue;
    if (!table_.ready(i).empty()) {
      instance.work.NotifyOne();
    } else if (instance.claim != nullptr) {
      // Its last request was cancelled while it stood in line: others must not wait for this one.
      instance.claim->Withdraw();
    }
  }
}

void SequenceBatcher::ArmTimerLocked(std::int64_t deadline_ns) {
  if (stopping_ || !armed_.Add(deadline_ns)) return;
  timer_.Schedule(deadline_ns, [weak = weak_from_this(), deadline_ns] {
    if (const auto batcher = weak.lock()) batcher->OnTimer(deadline_ns);
  });
}

void SequenceBatcher::OnTimer(std::int64_t deadline_ns) {
  const MutexLock lock(mutex_);
  armed_.Remove(deadline_ns);
  if (stopping_) return;
  table_.Expire(clock_.NowNs());
  PublishLocked();
}

void SequenceBatcher::OnReserved() {
  timer_.Schedule(clock_.NowNs(), [weak = weak_from_this()] {
    if (const auto batcher = weak.lock()) batcher->OnTimer(/*deadline_ns=*/0);  // of none
  });
}

void SequenceBatcher::OnCancel(const RequestPtr& request) {
  std::vector<RequestPtr> orphans;
  {
    const MutexLock lock(mutex_);
    if (!table_.Remove(request, clock_.NowNs(), &orphans)) return;
    PublishLocked();
  }
  request->Fail(Status::Cancelled("request cancelled while it was queued"),
                FailureReason::kCanceled);
  for (const RequestPtr& orphan : orphans)
    orphan->Fail(SequenceNotStarted(*orphan), FailureReason::kOther);
}

void SequenceBatcher::FailStopped(const std::vector<RequestPtr>& requests) const {
  for (const RequestPtr& request : requests) {
    request->Fail(Status::Unavailable("model '" + spec_->name + "' is being unloaded"),
                  FailureReason::kOther);
  }
}

}  // namespace fastserve
