// The scheduler of a model with sequence batching: each sequence keeps to one instance, its
// requests run one after the other, and requests of different sequences share batches.
//
//   Enqueue -> SequenceTable (backlog | ready) -> SequencePolicy -> SequenceRunner -> responses
//
// One thread per instance, asleep until a sequence of its instance is ready. Queue delays and idle
// times are deadlines of the engine's timer; nothing scans.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "backend/backend.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "concurrency/deadline_timer.h"
#include "concurrency/worker_thread.h"
#include "inference/model_spec.h"
#include "inference/request.h"
#include "scheduling/armed_deadlines.h"
#include "scheduling/model_statistics.h"
#include "scheduling/rate_limiter.h"
#include "scheduling/scheduler.h"
#include "scheduling/sequence_assembler.h"
#include "scheduling/sequence_policy.h"
#include "scheduling/sequence_runner.h"
#include "scheduling/sequence_states.h"
#include "scheduling/sequence_table.h"

namespace fastserve {

// Invariants: 1. every request enqueued is completed exactly once; 2. the responses of a sequence
// leave in the order of its requests, and those of an instance in the order in which it took them
// (so `preserve_ordering` holds by construction); 3. with a sequence ready and its instance idle,
// somebody is awake or a timer is armed. Thread safe. Enqueue never blocks.
class SequenceBatcher final : public Scheduler,
                              public CancelHook,
                              public std::enable_shared_from_this<SequenceBatcher> {
 public:
  struct Options {
    std::shared_ptr<const ModelSpec> spec;
    std::shared_ptr<BackendModel> backend_model;  // outlives the instances
    std::vector<std::unique_ptr<BackendInstance>> instances;
    const Clock* clock = nullptr;
    DeadlineTimer* timer = nullptr;
    std::shared_ptr<ModelStatistics> statistics;
    // Null: no limits. The claims are of this one.
    std::shared_ptr<RateLimiter> rate_limiter;
    // What each instance needs of the rate limiter; empty: it is off.
    std::vector<std::unique_ptr<ResourceClaim>> claims;
    // Of the instances, in their order; empty: none. They outlive the batcher.
    std::vector<const HostPolicy*> host_policies;
    // Test aids: nothing runs until so many requests wait on the instances
    // (TRITONSERVER_DELAY_SCHEDULER), and so many in the backlog
    // (TRITONSERVER_BACKLOG_DELAY_SCHEDULER), once. 0 = off.
    std::uint32_t hold_until_queued = 0;
    std::uint32_t hold_until_backlog = 0;
  };

  // Starts the instances' threads. Errors: Unavailable when memory is exhausted.
  static Result<std::shared_ptr<SequenceBatcher>> Create(Options options);
  // Stop() must have been called.
  ~SequenceBatcher() override;

  // Fails the request when it does not say what its sequence needs.
  void Enqueue(const RequestPtr& request, bool lend) override;
  void Stop() override;
  void OnCancel(const RequestPtr& request) override;
  std::uint64_t pending_requests() const override {
    return pending_.load(std::memory_order_relaxed);
  }

 private:
  friend class SequenceRunner;

  struct Instance {
    std::unique_ptr<SequenceRunner> runner;
    ResourceClaim* claim = nullptr;  // null: no rate limiter
    ConditionVariable work;          // the instance's thread waits here
    bool busy = false;               // runs a batch
  };

  SequenceBatcher(Options options, std::unique_ptr<SequenceStates> states);
  Status Start();
  void WorkerLoop(std::size_t index);
  // Waits for a batch of the instance. Empty: stopping.
  SequenceRows AwaitBatch(std::size_t index) EXCLUDES(mutex_);
  // Empty when nothing is to run now.
  SequenceRows TryFormLocked(std::size_t index) REQUIRES(mutex_);
  bool HoldsLocked() REQUIRES(mutex_);
  // OK, or why the request is not taken.
  Status AddLocked(const RequestPtr& request) REQUIRES(mutex_);
  void ChooseIdLocked(InferRequest* request) REQUIRES(mutex_);
  // Requests that were to run again but cannot; completed after the mutex is released.
  struct Dropped {
    std::vector<RequestPtr> cancelled;
    std::vector<RequestPtr> stopped;
  };
  void GiveBackLocked(Sequence* sequence, bool wants_again, Dropped* dropped) REQUIRES(mutex_);
  // Gives the sequences of an instance's batch back; requests that are to run again wait again.
  void FinishBatch(std::size_t index, const SequenceRows& rows,
                   const std::vector<bool>& rescheduled) EXCLUDES(mutex_);
  // After every change of the table: the counter, the timer, and the threads that have work now.
  void PublishLocked() REQUIRES(mutex_);
  void ArmTimerLocked(std::int64_t deadline_ns) REQUIRES(mutex_);
  void OnTimer(std::int64_t deadline_ns) EXCLUDES(mutex_);
  // The rate limiter has reserved what an instance waits for. Takes no lock of ours: the limiter
  // holds its own.
  void OnReserved();
  void FailStopped(const std::vector<RequestPtr>& requests) const;

  // First: the claims go before it, maybe on a thread that outlives the engine (see Stop).
  const std::shared_ptr<RateLimiter> rate_limiter_;
  const std::shared_ptr<const ModelSpec> spec_;
  const Clock& clock_;
  DeadlineTimer& timer_;
  const std::shared_ptr<ModelStatistics> statistics_;
  const std::unique_ptr<SequenceStates> states_;
  const SequencePolicy policy_;
  const SequenceAssembler assembler_;
  std::atomic<std::uint64_t> pending_{0};

  Mutex mutex_;
  SequenceTable table_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  ArmedDeadlines armed_ GUARDED_BY(mutex_);
  std::uint64_t last_chosen_id_ GUARDED_BY(mutex_) = 0;
  std::uint32_t hold_until_queued_ GUARDED_BY(mutex_);
  std::uint32_t hold_until_backlog_ GUARDED_BY(mutex_);

  const std::shared_ptr<BackendModel> backend_model_;  // before the instances: destroyed after them
  const std::vector<std::unique_ptr<BackendInstance>> backend_instances_;
  const std::vector<std::unique_ptr<ResourceClaim>> claims_;
  const std::vector<const HostPolicy*> host_policies_;
  // Made by Start; `busy` is guarded by mutex_.
  std::vector<std::unique_ptr<Instance>> instances_;
  std::vector<WorkerThread> workers_;
};

}  // namespace fastserve
