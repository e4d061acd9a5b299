// One worker process from its start to its end, watched by one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "backend/worker/line_log.h"
#include "backend/worker/worker_plan.h"
#include "backend/worker/worker_session.h"
#include "base/log.h"

namespace fastserve {

// Used by one thread, but for its session. The destructor kills the process, and ends the session
// if End was not called.
class WorkerLife {
 public:
  // Starts the process and sends INITIALIZE; Step until greeting() says more. Errors: Unavailable.
  static Result<std::unique_ptr<WorkerLife>> Start(const WorkerPlan& plan,
                                                   std::shared_ptr<const Wakeup> wakeup);

  // Waits until something happens, `until_ns` (negative: no limit) at the latest, and deals with
  // it. Not OK: the worker is gone (Unknown), or has to go and why ("was killed, as ..."); call
  // End.
  Status Step(std::int64_t until_ns);
  // Asks it to exit and waits for that, `limit_ns` at most.
  void Finalize(std::int64_t limit_ns);
  // Buries the process, killed if need be, and fails what it held. Returns what it was told: the
  // model, the instance, the end, the last lines of standard error.
  Status End(const Status& reason);
  ~WorkerLife();

  const std::shared_ptr<WorkerSession>& session() const { return session_; }
  std::int64_t started_ns() const { return started_ns_; }

 private:
  WorkerLife(const WorkerPlan& plan, LaunchedWorker worker, std::shared_ptr<const Wakeup> wakeup);
  std::string Name() const;

  struct Ready {
    bool channel = false;
    bool exited = false;
    bool anything = false;
  };
  Ready Poll(std::int64_t until_ns);
  std::int64_t NextDeadline(std::int64_t until_ns) const;
  Status Receive(const Ready& ready);
  Status CheckTimeout() const;
  void Tend(bool idle);
  void AwaitExit() const;

  const WorkerPlan& plan_;
  const Clock& clock_;
  const std::shared_ptr<const Wakeup> wakeup_;
  LaunchedWorker worker_;
  const std::shared_ptr<WorkerSession> session_;
  const std::int64_t started_ns_;
  LineLog output_;
  LineLog errors_;
  const std::shared_ptr<LogSettingsListener> log_settings_;
  int log_level_ = -1;  // the worker's; it is told after each start
  std::int64_t last_event_ns_;
  std::int64_t next_tend_ns_ = 0;  // 0: nothing is left to be told since the last event
};

}  // namespace fastserve
