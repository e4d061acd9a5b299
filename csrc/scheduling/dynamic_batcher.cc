#include "scheduling/dynamic_batcher.h"

#include <algorithm>
#include <limits>
#include <ranges>
#include <utility>

#include "inference/call_chain.h"
#include "scheduling/batch_slot.h"

namespace fastserve {

namespace {

constexpr std::size_t kIngressCapacity = 1024;
// An execution shorter than this costs an I/O thread less than two thread switches and the wait for
// a busy core would.
constexpr std::int64_t kLendLimitNs = 100'000;
// Batches a lending thread runs before it looks at its sockets again.
constexpr int kMaxLentBatches = 16;
constexpr int kCostWeight = 8;  // the newest measurement counts one eighth

}  // namespace

Result<std::shared_ptr<DynamicBatcher>> DynamicBatcher::Create(Options options) {
  std::shared_ptr<DynamicBatcher> batcher(new DynamicBatcher(std::move(options)));
  Status status = batcher->Start();
  if (status.ok()) return batcher;
  batcher->Stop();
  return status;
}

DynamicBatcher::DynamicBatcher(Options options)
    : rate_limiter_(std::move(options.rate_limiter)),
      spec_(std::move(options.spec)),
      clock_(*options.clock),
      timer_(*options.timer),
      statistics_(std::move(options.statistics)),
      policy_(*spec_),
      own_threads_(options.own_threads),
      ring_(kIngressCapacity),
      level_pending_(std::make_unique<std::atomic<std::uint64_t>[]>(
          std::max(spec_->dynamic_batching.priority_levels, 1U))),
      queue_(spec_->dynamic_batching),
      hold_until_queued_(options.hold_until_queued),
      order_(spec_->dynamic_batching.preserve_ordering ? std::make_unique<ResponseOrder>()
                                                       : nullptr),
      backend_model_(std::move(options.backend_model)),
      instances_(std::move(options.instances)),
      claims_(std::move(options.claims)),
      host_policies_(std::move(options.host_policies)) {}

DynamicBatcher::~DynamicBatcher() = default;

void DynamicBatcher::MakeSlots() {
  for (std::size_t i = 0; i < instances_.size(); ++i) {
    const HostPolicy* const policy = host_policies_.empty() ? nullptr : host_policies_[i];
    has_host_policies_ |= policy != nullptr;
    never_blocks_ = (i == 0 || never_blocks_) && instances_[i]->never_blocks();
    // What a batch behind another one holds, that one may wait for: its model calls models.
    const int depth = claims_.empty() ? instances_[i]->quick_depth() : 1;
    for (int j = 0; j < depth; ++j) {
      ResourceClaim* const claim = claims_.empty() ? nullptr : claims_[slots_.size()].get();
      slots_.push_back(std::make_unique<BatchSlot>(this, instances_[i].get(), i, claim, policy));
    }
  }
}

Status DynamicBatcher::Start() {
  MakeSlots();
  for (const auto& instance : instances_) {
    instance->set_on_ready([weak = weak_from_this()] {
      if (const auto batcher = weak.lock()) batcher->RunOnInstances();
    });
  }
  for (const auto& claim : claims_) claim->set_on_reserved([this] { work_.NotifyOne(); });
  {
    const MutexLock lock(mutex_);
    for (const auto& slot : slots_) idle_slots_.push_back(slot.get());
    running_.assign(instances_.size(), 0);
    progress_ns_.assign(instances_.size(), 0);
    if (spec_->dynamic_batching.self_tuning && spec_->max_batch_size > 1)
      tuning_ = std::make_unique<SelfTuning>(spec_->max_batch_size, slots_.size());
  }
  return own_threads_ ? StartWorkers() : Status::Ok();
}

Status DynamicBatcher::StartWorkers() {
  for (const auto& slot : slots_) {
    FASTSERVE_ASSIGN_OR_RETURN(WorkerThread worker,
                               WorkerThread::TryStart("fs-instance", [self = shared_from_this(),
                                                                      home = slot->host_policy()] {
                                 self->WorkerLoop(home);
                               }));
    workers_.push_back(std::move(worker));
    if (never_blocks_) break;  // one is enough for what becomes due later
  }
  return Status::Ok();
}

void DynamicBatcher::Stop() {
  stopping_.store(true, std::memory_order_seq_cst);
  work_.NotifyAll();
  for (WorkerThread& worker : workers_) worker.JoinOrLetGo();
  if (never_blocks_) {
    for (const auto& instance : instances_) instance->Stop();
  }
  (void)TryForm();
}

void DynamicBatcher::Enqueue(const RequestPtr& request, bool lend) {
  if (!BeginWaiting(*request)) {
    request->Fail(Status::Unavailable("Exceeds maximum queue size"), FailureReason::kRejected);
    return;
  }
  request->timestamps.queue_start = clock_.NowNs();
  Dropped dropped;
  if (!request->SetCancelHook(shared_from_this())) {
    dropped.cancelled.push_back(request);
    return Complete(&dropped);
  }
  // The caller's reference may be gone as soon as another thread can complete the request.
  const RequestPtr kept = request->shared_from_this();
  Append(request);
  if (!lend) work_.NotifyOne();
  // Cancelled before it was queued: OnCancel did not find it.
  if (kept->cancelled()) OnCancel(kept);
  // Stop may have emptied the queue before this request came to it. Without a notification, which
  // is a fence, the lender's RunLent or WakeWorker sees to it.
  if (stopping_.load(std::memory_order_seq_cst)) (void)TryForm();
}

void DynamicBatcher::WakeWorker() {
  work_.NotifyOne();
  if (stopping_.load(std::memory_order_seq_cst)) (void)TryForm();
}

bool DynamicBatcher::BeginWaiting(const InferRequest& request) {
  const std::uint32_t level = queue_.LevelOf(request);
  const std::uint64_t limit = queue_.policy(level).max_queue_size;
  if (limit != 0 && level_pending_[level].fetch_add(1, std::memory_order_relaxed) >= limit) {
    level_pending_[level].fetch_sub(1, std::memory_order_relaxed);
    return false;
  }
  pending_.fetch_add(1, std::memory_order_relaxed);
  return true;
}

void DynamicBatcher::EndWaiting(const InferRequest& request) {
  const std::uint32_t level = queue_.LevelOf(request);
  if (queue_.policy(level).max_queue_size != 0)
    level_pending_[level].fetch_sub(1, std::memory_order_relaxed);
  pending_.fetch_sub(1, std::memory_order_relaxed);
}

void DynamicBatcher::Append(RequestPtr request) {
  // A deadline is armed on arrival: with all instances busy nobody else looks at the queue in time.
  const bool has_timeout = queue_.TimeoutUs(*request) != 0;
  if (!has_timeout && ring_.TryPush(std::move(request))) return;
  const MutexLock lock(mutex_);
  DrainRingLocked();
  AdmitLocked(std::move(request));
  if (has_timeout) ArmTimerLocked(queue_.next_deadline_ns());
}

bool DynamicBatcher::lendable() const {
  if (!own_threads_ || never_blocks_) return true;
  const std::int64_t cost_ns = cost_ns_.load(std::memory_order_relaxed);
  // An instance with several slots completes on threads of its own.
  const bool synchronous = slots_.size() == instances_.size();
  // A lending thread follows no host policy.
  return synchronous && !has_host_policies_ && cost_ns != 0 && cost_ns < kLendLimitNs;
}

bool DynamicBatcher::RunLent() {
  bool ran = false;
  for (int i = 0; i < kMaxLentBatches && lendable(); ++i) {
    BatchSlot* slot = TryForm();
    if (slot == nullptr) return ran;
    slot->Run(/*lent=*/!never_blocks_);
    ran = true;
  }
  if (pending_requests() != 0) WakeWorker();
  return ran;
}

void DynamicBatcher::RunOnInstances() {
  if (!never_blocks_) return;
  while (BatchSlot* slot = TryForm()) slot->Run();
}

void DynamicBatcher::WorkerLoop(const HostPolicy* home) {
  HostPolicyScope scope(home);
  for (;;) {
    BatchSlot* slot = nullptr;
    {
      const MutexLock role(forming_role_);
      slot = AwaitBatch();
    }
    if (slot == nullptr) return;
    scope.Follow(slot->host_policy());
    slot->Run();
  }
}

BatchSlot* DynamicBatcher::AwaitBatch() {
  for (;;) {
    if (BatchSlot* slot = TryForm()) return slot;
    // Only who is about to sleep announces itself: an announced waiter costs its notifier a call.
    const EventCount::Key key = work_.PrepareWait();
    if (BatchSlot* slot = TryForm()) {
      work_.CancelWait();
      return slot;
    }
    if (stopping_.load(std::memory_order_seq_cst)) {
      work_.CancelWait();
      return nullptr;
    }
    work_.Wait(key);
  }
}

BatchSlot* DynamicBatcher::TryForm() {
  Dropped dropped;
  BatchSlot* slot = nullptr;
  {
    const MutexLock lock(mutex_);
    slot = TryFormLocked(&dropped);
  }
  if (!dropped.empty()) Complete(&dropped);
  return slot;
}

BatchSlot* DynamicBatcher::TryFormLocked(Dropped* dropped) {
  DrainRingLocked();
  const std::int64_t now_ns = clock_.NowNs();
  queue_.Expire(now_ns, &dropped->timed_out);
  DropCancelledHeadLocked(dropped);
  if (stopping_.load(std::memory_order_relaxed)) DropAllLocked(dropped);
  if (queue_.empty()) {
    WithdrawClaimsLocked();
    return nullptr;
  }
  if (queue_.next_deadline_ns() != 0) ArmTimerLocked(queue_.next_deadline_ns());
  if (idle_slots_.empty()) return nullptr;
  if (hold_until_queued_ != 0) {
    if (pending_requests() < hold_until_queued_) return nullptr;
    hold_until_queued_ = 0;
  }
  BatchChoice choice = ChooseLocked(now_ns);
  if (choice.ready_at_ns != 0) {
    ArmTimerLocked(choice.ready_at_ns);
    return nullptr;
  }
  BatchSlot* slot = TakeIdleSlotLocked(now_ns, &choice.request_count);
  if (slot == nullptr) return nullptr;
  FillSlotLocked(choice.request_count, slot);
  if (tuning_) tuning_->OnFormed(now_ns);
  return slot;
}

BatchChoice DynamicBatcher::ChooseLocked(std::int64_t now_ns) {
  if (tuning_) return policy_.ChooseTuned(queue_, *tuning_, now_ns);
  return policy_.Choose(queue_, now_ns);
}

BatchSlot* DynamicBatcher::TakeIdleSlotLocked(std::int64_t now_ns, std::size_t* request_count) {
  if (BatchSlot* slot = TakeSlotOfIdleInstanceLocked(now_ns)) return slot;
  // Behind another batch a nested request might wait for its own caller.
  const std::size_t count = CountBeforeNestedLocked(*request_count);
  BatchSlot* const slot = count == 0 ? nullptr : TakeSlotOfBusyInstanceLocked(now_ns);
  if (slot != nullptr) *request_count = count;
  return slot;
}

std::size_t DynamicBatcher::CountBeforeNestedLocked(std::size_t limit) const {
  std::size_t count = 0;
  const InferRequest* at = queue_.front();
  for (; count < limit && at != nullptr && !IsNested(*at); at = queue_.Next(at)) ++count;
  return count;
}

bool DynamicBatcher::IsPassedOver(const BatchSlot& slot) const {
  if (!never_blocks_ || slot.ready()) return false;
  return std::ranges::any_of(instances_, [](const auto& instance) { return instance->ready(); });
}

BatchSlot* DynamicBatcher::TakeSlotOfIdleInstanceLocked(std::int64_t now_ns) {
  for (const bool at_home : {true, false}) {
    for (BatchSlot* const slot : std::views::reverse(idle_slots_)) {
      if (running_[slot->instance_index()] != 0) continue;
      if (HostPolicyScope::IsFollowed(slot->host_policy()) != at_home) continue;
      if (IsPassedOver(*slot)) {
        // What it stands in line for, others can use.
        if (slot->claim() != nullptr) slot->claim()->Withdraw();
        continue;
      }
      if (slot->claim() != nullptr && !slot->claim()->TryTake()) continue;
      progress_ns_[slot->instance_index()] = now_ns;
      return TakeSlotLocked(slot);
    }
  }
  return nullptr;
}

BatchSlot* DynamicBatcher::TakeSlotOfBusyInstanceLocked(std::int64_t now_ns) {
  const std::int64_t cost_ns = cost_ns_.load(std::memory_order_relaxed);
  const bool batches_are_quick = cost_ns != 0 && cost_ns < BackendInstance::kQuickNs;
  BatchSlot* least = nullptr;
  for (BatchSlot* const slot : std::views::reverse(idle_slots_)) {
    const std::size_t instance = slot->instance_index();
    if (running_[instance] == 0 || IsPassedOver(*slot)) continue;
    // One that has answered nothing for a while runs a longer one.
    const bool quick =
        batches_are_quick && now_ns - progress_ns_[instance] < BackendInstance::kQuickNs;
    if (!quick && running_[instance] >= instances_[instance]->depth()) continue;
    if (least == nullptr || running_[instance] < running_[least->instance_index()]) least = slot;
  }
  return least == nullptr ? nullptr : TakeSlotLocked(least);
}

BatchSlot* DynamicBatcher::TakeSlotLocked(BatchSlot* slot) {
  idle_slots_.erase(std::ranges::find(idle_slots_, slot));
  ++running_[slot->instance_index()];
  return slot;
}

// Without work an idle slot keeps no place in line.
void DynamicBatcher::WithdrawClaimsLocked() {
  if (claims_.empty()) return;
  for (BatchSlot* slot : idle_slots_) slot->claim()->Withdraw();
}

void DynamicBatcher::DrainRingLocked() {
  RequestPtr request;
  while (ring_.TryPop(&request)) AdmitLocked(std::move(request));
}

void DynamicBatcher::AdmitLocked(RequestPtr request) {
  if (tuning_) tuning_->OnArrival(request->batch_size, request->timestamps.queue_start);
  queue_.Push(std::move(request));
}

void DynamicBatcher::DropCancelledHeadLocked(Dropped* dropped) {
  while (!queue_.empty() && queue_.front()->cancelled()) {
    dropped->cancelled.push_back(queue_.Remove(queue_.front()));
  }
}

void DynamicBatcher::DropAllLocked(Dropped* dropped) {
  while (InferRequest* request = queue_.front()) dropped->stopped.push_back(queue_.Remove(request));
}

void DynamicBatcher::FillSlotLocked(std::size_t request_count, BatchSlot* slot) {
  const auto resources = slot->claim() == nullptr ? nullptr : slot->claim()->resources();
  for (std::size_t i = 0; i < request_count; ++i) {
    slot->requests().push_back(queue_.Remove(queue_.front()));
    EndWaiting(*slot->requests().back());
    if (resources != nullptr) slot->requests().back()->SetExecutionResources(resources);
  }
  slot->set_ticket(next_ticket_++);
}

void DynamicBatcher::ArmTimerLocked(std::int64_t deadline_ns) {
  if (!armed_.Add(deadline_ns)) return;
  timer_.Schedule(deadline_ns, [weak = weak_from_this(), deadline_ns] {
    if (const auto batcher = weak.lock()) batcher->OnTimer(deadline_ns);
  });
}

void DynamicBatcher::OnTimer(std::int64_t deadline_ns) {
  Dropped dropped;
  {
    const MutexLock lock(mutex_);
    armed_.Remove(deadline_ns);
    DrainRingLocked();
    queue_.Expire(clock_.NowNs(), &dropped.timed_out);
    if (queue_.next_deadline_ns() != 0) ArmTimerLocked(queue_.next_deadline_ns());
    if (queue_.empty()) WithdrawClaimsLocked();
  }
  Complete(&dropped);
  work_.NotifyOne();
}

void DynamicBatcher::Complete(Dropped* dropped) {
  const auto fail = [this](const std::vector<RequestPtr>& requests, const Status& status,
                           FailureReason reason) {
    for (const RequestPtr& request : requests) {
      EndWaiting(*request);
      request->Fail(status, reason);
    }
  };
  fail(dropped->timed_out, Status::Unavailable("Request timeout expired"),
       FailureReason::kRejected);
  fail(dropped->cancelled, Status::Cancelled("request cancelled while it was queued"),
       FailureReason::kCanceled);
  fail(dropped->stopped, Status::Unavailable("model '" + spec_->name + "' is being unloaded"),
       FailureReason::kOther);
}

void DynamicBatcher::OnCancel(const RequestPtr& request) {
  Dropped dropped;
  {
    const MutexLock lock(mutex_);
    DrainRingLocked();
    RequestPtr taken = queue_.Remove(request.get());
    if (taken == nullptr) return;
    dropped.cancelled.push_back(std::move(taken));
    if (queue_.empty()) WithdrawClaimsLocked();
  }
  Complete(&dropped);
  // Without it the others may make a batch that runs now.
  work_.NotifyOne();
}

void DynamicBatcher::ReleaseSlot(BatchSlot* slot, const BatchRun& run) {
  if (slot->claim() != nullptr) slot->claim()->GiveBack();
  {
    const MutexLock lock(mutex_);
    if (tuning_) tuning_->OnCompleted(run.batch_size, run.cost_ns, run.end_ns);
    idle_slots_.push_back(slot);
    --running_[slot->instance_index()];
    progress_ns_[slot->instance_index()] = run.end_ns;
  }
  if (never_blocks_) return;  // RunOnInstances follows
  // A lending thread forms the next batch itself, or wakes a worker when it ends (RunLent).
  const bool work_left = pending_requests() != 0 && !run.lent;
  if (work_left || stopping_.load(std::memory_order_relaxed)) work_.NotifyOne();
}

void DynamicBatcher::RecordCost(std::int64_t execute_ns) {
  const std::int64_t measured = std::max<std::int64_t>(execute_ns, 1);
  const std::int64_t old = cost_ns_.load(std::memory_order_relaxed);
  // A lost update between two slots only drops one measurement.
  cost_ns_.store(old == 0 ? measured : old + (measured - old) / kCostWeight,
                 std::memory_order_relaxed);
}

}  // namespace fastserve
