// An instance's worker over all of its lives: started, restarted when it dies, replaced when it has
// served enough requests. What waits meanwhile, waits here.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/worker/restart_backoff.h"
#include "backend/worker/worker_life.h"
#include "backend/worker/worker_plan.h"
#include "base/mutex.h"
#include "concurrency/worker_thread.h"

namespace fastserve {

// What the instances of one model have in common. Thread safe.
class WorkerTally {
 public:
  void OnReady() { ready_.fetch_add(1, std::memory_order_relaxed); }
  void OnRestart() { restarts_.fetch_add(1, std::memory_order_relaxed); }
  // `was_ready`: it counted as ready until now.
  void OnDeath(const Status& reason, bool was_ready) EXCLUDES(mutex_);
  // An instance is taken away, without a death.
  void OnLeave() { ready_.fetch_sub(1, std::memory_order_relaxed); }
  // Not OK while no instance is ready, with the last reason.
  Status Ready() const EXCLUDES(mutex_);
  WorkerCounts counts() const {
    return {deaths_.load(std::memory_order_relaxed), restarts_.load(std::memory_order_relaxed)};
  }

 private:
  std::atomic<int> ready_{0};
  std::atomic<std::uint64_t> deaths_{0};
  std::atomic<std::uint64_t> restarts_{0};
  mutable Mutex mutex_;
  Status last_reason_ GUARDED_BY(mutex_);
};

// Its thread keeps it alive until Stop. Thread safe.
//
//   starting -> ready -> (recycled | dead -> backing off) -> starting -> ... -> stopped
//
// Invariants: 1. every execution given to Execute is reported once, on the worker's thread; after
// Stop inside Execute. 2. An execution waits while no worker is ready, unless the model could not
// be initialized, or three starting workers in a row died: then it fails with the reason. It fails
// when all of its requests have been cancelled meanwhile. 3. After Stop no process of it lives.
class SupervisedWorker final : public std::enable_shared_from_this<SupervisedWorker> {
 public:
  SupervisedWorker(WorkerPlan plan, std::shared_ptr<WorkerTally> tally);

  // Starts the first worker. Blocks until its model is initialized. Errors: why it is not; then
  // there is nothing to stop.
  Status Start();
  void Execute(Execution* execution, ExecutionObserver* observer) EXCLUDES(mutex_);
  // `done` once, on any thread, maybe inside the call. Unavailable when no worker is ready.
  void CheckReady(const std::function<void(Status)>& done) EXCLUDES(mutex_);
  bool ready() const EXCLUDES(mutex_);
  // As BackendInstance::set_on_ready.
  void set_on_ready(const std::function<void()>& on_ready) EXCLUDES(mutex_);
  // Blocks until what runs has ended and the process is gone, except on the worker's own thread.
  void Stop() EXCLUDES(mutex_);

  // Starts a worker for its configuration only, on the calling thread. Blocks. JSON text.
  static Result<std::string> AutoComplete(const WorkerPlan& plan);

 private:
  struct Held {
    Execution* execution;
    ExecutionObserver* observer;
  };
  enum class Phase : std::uint8_t { kStarting, kReady, kDraining, kStopped };
  // How the time of a worker was over.
  enum class Outcome : std::uint8_t { kStopped, kRecycled, kDied };

  void Run();
  // A worker whose model is initialized. `goes_on` is called whenever `wakeup` was notified; false:
  // it is not wanted any more. Not OK: why there is none (it is buried); `died`, which may be null:
  // it ended by itself.
  static Result<std::unique_ptr<WorkerLife>> Begin(const WorkerPlan& plan,
                                                   const std::shared_ptr<const Wakeup>& wakeup,
                                                   const std::function<bool()>& goes_on,
                                                   bool* died = nullptr);
  Outcome Serve(WorkerLife* life) EXCLUDES(mutex_);
  // Null: stopping.
  std::unique_ptr<WorkerLife> Restart(bool at_once) EXCLUDES(mutex_);
  void BackOff() EXCLUDES(mutex_);
  void OnDeath(const WorkerLife& life, const Status& reason) EXCLUDES(mutex_);
  void BecomeReady(const WorkerLife& life) EXCLUDES(mutex_);
  // Hands on what was held, or fails it.
  void DispatchHeld() EXCLUDES(mutex_);
  void FailHeld(const Status& reason) EXCLUDES(mutex_);
  // Those of which every request was cancelled while they waited.
  void FailCancelled() EXCLUDES(mutex_);
  void HoldLocked(Execution* execution, ExecutionObserver* observer) REQUIRES(mutex_);
  // Stops giving the worker more when it has had enough.
  void Drain(const std::shared_ptr<WorkerSession>& session) EXCLUDES(mutex_);
  // True when it is idle and is to be replaced: from now on it is given nothing.
  bool TakeForRecycling() EXCLUDES(mutex_);
  // A worker that does not become idle in time, a stream without an end for example, is given
  // requests again, and replaced when it happens to be idle, or after twice as many.
  void GiveUpDraining() EXCLUDES(mutex_);
  // While it drains: fails what was cancelled, and gives up when it is time to. Returns until when
  // to wait: `until_ns`, or that time.
  std::int64_t TendDraining(std::int64_t until_ns) EXCLUDES(mutex_);
  bool stopping() const { return stopping_.load(std::memory_order_acquire); }

  const WorkerPlan plan_;
  const Clock& clock_;
  const std::shared_ptr<WorkerTally> tally_;
  const std::shared_ptr<const Wakeup> wakeup_;
  const std::shared_ptr<CancelHook> wakes_;  // by a cancellation of what is held
  std::atomic<bool> stopping_{false};        // release in Stop, acquire in stopping()
  // Requests that the session is given before it is drained. Relaxed: any moment will do.
  std::atomic<std::uint64_t> drain_at_{0};

  // The worker's thread's.
  RestartBackoff backoff_;
  bool counts_as_ready_ = false;

  mutable Mutex mutex_;
  ConditionVariable started_;
  bool first_over_ GUARDED_BY(mutex_) = false;
  Status first_ GUARDED_BY(mutex_);
  Phase phase_ GUARDED_BY(mutex_) = Phase::kStarting;
  std::int64_t drain_until_ns_ GUARDED_BY(mutex_) = 0;  // while it drains
  bool overdue_ GUARDED_BY(mutex_) = false;             // GiveUpDraining
  Status start_failure_ GUARDED_BY(mutex_);             // of the last start
  std::shared_ptr<WorkerSession> session_ GUARDED_BY(mutex_);
  bool has_is_ready_ GUARDED_BY(mutex_) = false;
  std::vector<Held> held_ GUARDED_BY(mutex_);
  std::function<void()> on_ready_ GUARDED_BY(mutex_);
  WorkerThread thread_;
};

}  // namespace fastserve
