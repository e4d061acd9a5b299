// One life of a worker process, as far as requests are concerned: batches go in, answers come out.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "backend/inference_host.h"
#include "backend/worker/answer.h"
#include "backend/worker/execute_packet.h"
#include "backend/worker/execution_table.h"
#include "backend/worker/held_requests.h"
#include "backend/worker/inference_calls.h"
#include "backend/worker/worker_link.h"
#include "base/mutex.h"

namespace fastserve {

// What INITIALIZED says.
struct WorkerGreeting {
  std::string error = {};   // empty: the model is ready
  std::string config = {};  // JSON text, with auto_complete
  bool has_is_ready = false;
};

// Kept alive by its owner and by the requests that it may be asked to cancel. Execute, OnCancel,
// CheckReady, idle: any thread. The rest: the one thread that polls, the owner's. Invariants: 1.
// each execution it took is reported exactly once, on that thread; 2. each request of a decoupled
// model that it took is completed exactly once, on that thread; 3. after End it takes nothing.
class WorkerSession final : public CancelHook, public std::enable_shared_from_this<WorkerSession> {
 public:
  struct Options {
    std::shared_ptr<const ModelSpec> spec;
    std::string instance_name;
    std::shared_ptr<InferenceHost> host;  // may be null
    std::shared_ptr<const Wakeup> wakeup;
    const Clock* clock = nullptr;
    // The thread that polls has to know when something begins to run: executions have a limit.
    bool watches_executions = false;
  };
  WorkerSession(Options options, UniqueFd socket);

  // Hands a batch to the worker. False after End: it was not taken.
  bool Execute(Execution* execution, ExecutionObserver* observer) EXCLUDES(mutex_);
  void OnCancel(const RequestPtr& request) override EXCLUDES(mutex_);
  // Asks the model's is_ready; `done` once, on the thread that polls.
  void CheckReady(const std::function<void(Status)>& done) EXCLUDES(mutex_);
  // Nothing runs, nothing is to be answered, and the model waits for nothing.
  bool idle() const EXCLUDES(mutex_);
  // Takes nothing from now on, if nothing runs; false when something does.
  bool Retire() EXCLUDES(mutex_);
  std::uint64_t requests_taken() const { return requests_taken_.load(std::memory_order_relaxed); }

  WorkerLink& link() { return *link_; }
  void Send(PacketKind kind, std::string_view body) { link_->Send(kind, body); }
  // False: the worker is to be read no further until the wakeup is notified.
  bool wants_packets() const { return !calls_->crowded(); }
  // Handles the packets that have come. kEnd: the worker is gone. Errors: it broke a rule.
  Result<ReceiveOutcome> Receive() EXCLUDES(mutex_);
  // Set when the worker has said INITIALIZED.
  const std::optional<WorkerGreeting>& greeting() const { return greeting_; }
  // It has responded to a request, or failed it.
  bool answered() const { return answered_; }
  // Reports the executions that could not be sent, and answers what waited for READY too long.
  void Settle() EXCLUDES(mutex_);
  // When Settle has something to do; nullopt: never.
  std::optional<std::int64_t> settle_at_ns() const EXCLUDES(mutex_);
  // When the oldest execution can have begun, or a reader that it was waiting for had caught up;
  // now while it waits for one. nullopt: nothing runs.
  std::optional<std::int64_t> oldest_start_ns() const EXCLUDES(mutex_);
  // Since when the worker has sent no response while requests are open whose executions have ended,
  // and not all of their readers are slow. nullopt: there are none.
  std::optional<std::int64_t> quiet_since_ns() const EXCLUDES(mutex_);
  // The worker is gone: everything it held fails.
  void End(const Status& reason) EXCLUDES(mutex_);

 private:
  struct Refused {
    Execution* execution;
    ExecutionObserver* observer;
    Status status;
  };
  struct ReadyCheck {
    std::int64_t deadline_ns = 0;
    std::function<void(Status)> done;
  };

  Status Handle(const WorkerPacket& packet) EXCLUDES(mutex_);
  Status OnInitialized(std::string_view body);
  Status OnResponses(std::string_view body) EXCLUDES(mutex_);
  // Reads the answers of one batch.
  Status OnBatchAnswered(PacketReader* reader) EXCLUDES(mutex_);
  Status OnResponse(std::string_view body) EXCLUDES(mutex_);
  Status OnExecuted(std::string_view body) EXCLUDES(mutex_);
  Status OnReady(std::string_view body) EXCLUDES(mutex_);
  Status OnLog(std::string_view body) const;

  void SendLocked(const BatchInputs& batch, const ArenaBlock* block,
                  const RunningExecution& running) REQUIRES(mutex_);
  // Marks the requests as executing and asks to be told of cancellations.
  void WatchLocked(const RunningExecution& running) REQUIRES(mutex_);
  void SendCancelLocked(const std::vector<std::uint64_t>& handles) REQUIRES(mutex_);
  void Finish(const RunningExecution& running, std::vector<Answer> answers);
  void FailOpen(const RunningExecution& running, const Status& status) EXCLUDES(mutex_);
  void CloseRequest(std::uint64_t handle) EXCLUDES(mutex_);
  bool TakesAgain(std::uint64_t handle) EXCLUDES(mutex_);
  void RefuseReschedule(const RequestPtr& request) const;
  void Deliver(const RequestPtr& request, Answer answer, bool final) const;

  const Options options_;
  const ModelSpec& spec_;
  const Clock& clock_;
  const std::shared_ptr<WorkerLink> link_;
  const std::shared_ptr<InferenceCalls> calls_;
  const std::shared_ptr<HeldRequests> held_;
  std::optional<WorkerGreeting> greeting_;
  bool answered_ = false;
  std::atomic<std::uint64_t> requests_taken_{0};

  mutable Mutex mutex_;
  bool ended_ GUARDED_BY(mutex_) = false;
  ExecutionTable table_ GUARDED_BY(mutex_);
  std::vector<Refused> refused_ GUARDED_BY(mutex_);
  std::map<std::uint64_t, ReadyCheck> ready_checks_ GUARDED_BY(mutex_);  // by token
  std::uint64_t last_token_ GUARDED_BY(mutex_) = 0;
  std::string buffer_ GUARDED_BY(mutex_);  // reused by Execute
};

}  // namespace fastserve
