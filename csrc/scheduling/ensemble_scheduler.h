// The scheduler of an ensemble: no backend, no instances, no threads. It limits how many requests
// are on their way (max_inflight_requests) and starts the next when one ends; the way itself is
// EnsembleRun.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "concurrency/deadline_timer.h"
#include "inference/model_spec.h"
#include "scheduling/armed_deadlines.h"
#include "scheduling/ensemble_graph.h"
#include "scheduling/model_statistics.h"
#include "scheduling/policy_queue.h"
#include "scheduling/request_router.h"
#include "scheduling/scheduler.h"

namespace fastserve {

// Invariants: 1. every request enqueued is completed exactly once; 2. at most max_inflight_requests
// are between their first step and their answer, the others wait here in order of arrival, holding
// nothing that a running one needs: no deadlock; 3. with a request waiting and room for it, some
// thread is about to start it or a lender has yet to Run. Thread safe. Enqueue never blocks.
class EnsembleScheduler final : public Scheduler,
                                public CancelHook,
                                public std::enable_shared_from_this<EnsembleScheduler> {
 public:
  struct Options {
    std::shared_ptr<const ModelSpec> spec;
    const Clock* clock = nullptr;
    DeadlineTimer* timer = nullptr;
    std::shared_ptr<ModelStatistics> statistics;
    const RequestRouter* router = nullptr;
  };

  // Checks the graph, and the members that are loaded already. Errors: InvalidArgument that names
  // the step.
  static Result<std::shared_ptr<EnsembleScheduler>> Create(Options options);

  // Fails a request of an ensemble that is a step of itself, however indirectly. One with a timeout
  // waits for room no longer than that.
  void Enqueue(const RequestPtr& request, bool lend) override;
  // Starting a request only submits others: always cheap.
  bool lendable() const override { return true; }
  // Starts what waits; the members then run what they were given, on this thread when it is cheap.
  bool RunLent() override;
  void WakeWorker() override { StartWaiting(); }
  // Fails what still waits. Running requests go on as long as their members do.
  void Stop() override;
  std::uint64_t pending_requests() const override {
    return pending_.load(std::memory_order_relaxed);
  }
  void OnCancel(const RequestPtr& request) override;

  // For EnsembleRun.
  const std::shared_ptr<const ModelSpec>& spec() const { return spec_; }
  const EnsembleGraph& graph() const { return graph_; }
  const RequestRouter& router() const { return router_; }
  const Clock& clock() const { return clock_; }
  ModelStatistics& statistics() { return *statistics_; }
  // A request that was started has been answered.
  void OnRunEnded() EXCLUDES(mutex_);

 private:
  EnsembleScheduler(Options options, EnsembleGraph graph);
  // Starts waiting requests while there is room, unless another call does so now: a request that
  // ends inside its own start does not recurse, and requests start in order.
  void StartWaiting() EXCLUDES(mutex_);
  RequestPtr TakeNextLocked() REQUIRES(mutex_);
  // Requests whose timeout has passed; to be failed after the mutex is released.
  std::vector<RequestPtr> TakeLateLocked() REQUIRES(mutex_);
  void ArmTimerLocked() REQUIRES(mutex_);
  void OnTimer(std::int64_t deadline_ns) EXCLUDES(mutex_);

  const std::shared_ptr<const ModelSpec> spec_;
  const EnsembleGraph graph_;
  const Clock& clock_;
  DeadlineTimer& timer_;
  const std::shared_ptr<ModelStatistics> statistics_;
  const RequestRouter& router_;

  std::atomic<std::uint64_t> pending_{0};
  Mutex mutex_;
  PolicyQueue queue_ GUARDED_BY(mutex_);
  std::uint64_t running_ GUARDED_BY(mutex_) = 0;
  ArmedDeadlines armed_ GUARDED_BY(mutex_);
  bool starting_ GUARDED_BY(mutex_) = false;
  bool stopped_ GUARDED_BY(mutex_) = false;
};

}  // namespace fastserve
