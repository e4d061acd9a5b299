// The scheduler of one model version: requests wait in one queue, batches are formed late, when an
// instance is free, and no thread stands between queue and instance.
//
//   Enqueue -> ingress ring -> policy queue -> TryForm (batch + idle slot) -> Run -> responses
//
// Two kinds of threads run batches. Worker threads (one per slot) take turns: the holder of the
// forming role waits for work, forms a batch, passes the role on and runs it. A lending thread (an
// I/O thread, see Lender in scheduling/lender.h) forms and runs batches itself when the model is
// measured to be cheap, which saves two thread switches per request. Instances that never block (a
// worker process) are given their batches by whoever brings a request or a completion.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "backend/backend.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "concurrency/bounded_ring.h"
#include "concurrency/deadline_timer.h"
#include "concurrency/event_count.h"
#include "concurrency/worker_thread.h"
#include "inference/model_spec.h"
#include "inference/request.h"
#include "scheduling/armed_deadlines.h"
#include "scheduling/batch_policy.h"
#include "scheduling/model_statistics.h"
#include "scheduling/policy_queue.h"
#include "scheduling/rate_limiter.h"
#include "scheduling/response_order.h"
#include "scheduling/scheduler.h"
#include "scheduling/self_tuning.h"

namespace fastserve {

class BatchSlot;  // batch_slot.h

// Invariants: 1. every request enqueued is completed exactly once; 2. a slot runs one batch at a
// time; 3. requests leave the queue in its order; 4. with work queued and a slot idle, somebody is
// awake or a lender has yet to Run. Thread safe. Enqueue never blocks.
class DynamicBatcher final : public Scheduler,
                             public CancelHook,
                             public std::enable_shared_from_this<DynamicBatcher> {
 public:
  struct Options {
    std::shared_ptr<const ModelSpec> spec;
    std::shared_ptr<BackendModel> backend_model;  // outlives the instances
    std::vector<std::unique_ptr<BackendInstance>> instances;
    // Null: no limits. The claims are of this one.
    std::shared_ptr<RateLimiter> rate_limiter;
    // One for each instance, which then executes one batch at a time; empty: no limits.
    std::vector<std::unique_ptr<ResourceClaim>> claims;
    // Of the instances, in their order; null: none. They outlive the batcher.
    std::vector<const HostPolicy*> host_policies;
    const Clock* clock = nullptr;
    DeadlineTimer* timer = nullptr;
    std::shared_ptr<ModelStatistics> statistics;
    // Hold batching until this many requests are queued, once (TRITONSERVER_DELAY_SCHEDULER). 0 =
    // off.
    std::uint32_t hold_until_queued = 0;
    // False: no threads, every batch runs in RunLent on the thread that calls it, however long it
    // takes; the caller calls it after each Enqueue, completion and timer (simulations).
    bool own_threads = true;
  };

  // Starts the worker threads. Error: Unavailable when there is no thread for an instance.
  static Result<std::shared_ptr<DynamicBatcher>> Create(Options options);
  // Stop() must have been called.
  ~DynamicBatcher() override;

  // Fails the request when the queue is full.
  void Enqueue(const RequestPtr& request, bool lend) override;
  bool lendable() const override;
  bool RunLent() override;
  void WakeWorker() override;
  void Stop() override;

  void OnCancel(const RequestPtr& request) override;

  std::uint64_t pending_requests() const override {
    return pending_.load(std::memory_order_relaxed);
  }

 private:
  friend class BatchSlot;
  // Requests taken out of the queue without being executed; completed after the mutex is released.
  struct Dropped {
    std::vector<RequestPtr> timed_out;
    std::vector<RequestPtr> cancelled;
    std::vector<RequestPtr> stopped;
    bool empty() const { return timed_out.empty() && cancelled.empty() && stopped.empty(); }
  };
  // What is known of a batch that has ended.
  struct BatchRun {
    std::int64_t batch_size = 0;
    std::int64_t cost_ns = 0;  // from start to end; 0: it failed
    std::int64_t end_ns = 0;
    bool lent = false;
  };

  explicit DynamicBatcher(Options options);
  void MakeSlots();
  Status Start();
  Status StartWorkers();
  // `home`: the host policy of the slot that the worker is there for; it follows that of the slot
  // that it runs.
  void WorkerLoop(const HostPolicy* home);
  // Waits in the forming role. Null: stopping.
  BatchSlot* AwaitBatch();
  // A filled slot, or null when there is nothing to run now (then a timer is armed if waiting is
  // what helps). After the end it fails what waits.
  BatchSlot* TryForm();
  BatchSlot* TryFormLocked(Dropped* dropped) REQUIRES(mutex_);
  // For the head of the queue: of an instance that runs nothing if there is one, and one whose host
  // policy this thread follows already. Null when none is idle and may execute now. May lower the
  // number of requests: a busy instance is not given nested ones.
  BatchSlot* TakeIdleSlotLocked(std::int64_t now_ns, std::size_t* request_count) REQUIRES(mutex_);
  // How many of the first `limit` requests stand before the first nested one.
  std::size_t CountBeforeNestedLocked(std::size_t limit) const REQUIRES(mutex_);
  BatchSlot* TakeSlotOfIdleInstanceLocked(std::int64_t now_ns) REQUIRES(mutex_);
  // Of the one that has least to do. Where an instance has several slots, none has a claim.
  BatchSlot* TakeSlotOfBusyInstanceLocked(std::int64_t now_ns) REQUIRES(mutex_);
  BatchSlot* TakeSlotLocked(BatchSlot* slot) REQUIRES(mutex_);
  // Its instance cannot execute and another one can: a dead worker attracts no requests.
  bool IsPassedOver(const BatchSlot& slot) const;
  // Forms and hands on what can run now, if the instances only take it (never_blocks).
  void RunOnInstances();
  void WithdrawClaimsLocked() REQUIRES(mutex_);
  // Puts the request into the ring, or, when the ring is full or the request has a timeout to arm,
  // into the queue itself.
  void Append(RequestPtr request) EXCLUDES(mutex_);
  void DrainRingLocked() REQUIRES(mutex_);
  void DropCancelledHeadLocked(Dropped* dropped) REQUIRES(mutex_);
  void DropAllLocked(Dropped* dropped) REQUIRES(mutex_);
  // Into the queue, for good.
  void AdmitLocked(RequestPtr request) REQUIRES(mutex_);
  BatchChoice ChooseLocked(std::int64_t now_ns) REQUIRES(mutex_);
  void FillSlotLocked(std::size_t request_count, BatchSlot* slot) REQUIRES(mutex_);
  void ArmTimerLocked(std::int64_t deadline_ns) REQUIRES(mutex_);
  void OnTimer(std::int64_t deadline_ns) EXCLUDES(mutex_);
  void Complete(Dropped* dropped);
  // Counts the request as waiting. False when its level is full.
  bool BeginWaiting(const InferRequest& request);
  void EndWaiting(const InferRequest& request);
  void ReleaseSlot(BatchSlot* slot, const BatchRun& run);
  void RecordCost(std::int64_t execute_ns);

  // First: the claims go before it, maybe on a thread that outlives the engine (see Stop).
  const std::shared_ptr<RateLimiter> rate_limiter_;
  const std::shared_ptr<const ModelSpec> spec_;
  const Clock& clock_;
  DeadlineTimer& timer_;
  const std::shared_ptr<ModelStatistics> statistics_;
  const BatchPolicy policy_;
  const bool own_threads_;

  BoundedRing<RequestPtr> ring_;
  std::atomic<std::uint64_t> pending_{0};  // in the ring or the queue
  // The same by priority level, only of levels with a max_queue_size.
  const std::unique_ptr<std::atomic<std::uint64_t>[]> level_pending_;
  std::atomic<std::int64_t> cost_ns_{0};  // moving average of one execution; 0 = not measured yet
  std::atomic<bool> stopping_{false};
  // Set by Start.
  bool has_host_policies_ = false;
  bool never_blocks_ = false;  // true of every instance
  EventCount work_;            // the holder of the forming role waits here

  Mutex mutex_;
  PolicyQueue queue_;  // guarded by mutex_, but for what is thread safe
  std::unique_ptr<SelfTuning> tuning_ GUARDED_BY(mutex_);  // null: as configured
  std::vector<BatchSlot*> idle_slots_ GUARDED_BY(mutex_);
  std::vector<int> running_ GUARDED_BY(mutex_);  // batches of each instance
  // When each instance was given a batch while it had none, or has last answered one.
  std::vector<std::int64_t> progress_ns_ GUARDED_BY(mutex_);
  ArmedDeadlines armed_ GUARDED_BY(mutex_);
  std::uint32_t hold_until_queued_ GUARDED_BY(mutex_);
  std::uint64_t next_ticket_ GUARDED_BY(mutex_) = 0;

  const std::unique_ptr<ResponseOrder> order_;  // null unless preserve_ordering

  const std::shared_ptr<BackendModel> backend_model_;  // before the instances: destroyed after them
  std::vector<std::unique_ptr<BackendInstance>> instances_;
  std::vector<std::unique_ptr<BatchSlot>> slots_;
  std::vector<std::unique_ptr<ResourceClaim>> claims_;
  const std::vector<const HostPolicy*> host_policies_;
  Mutex forming_role_;  // held by the one worker that waits for work
  std::vector<WorkerThread> workers_;
};

}  // namespace fastserve
