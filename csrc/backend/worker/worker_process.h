// A worker as a process of the operating system: started, watched, killed, buried.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "concurrency/worker_thread.h"

namespace fastserve {

// A process that has been started. Used by one thread. The destructor kills and buries it.
class WorkerProcess {
 public:
  virtual ~WorkerProcess() = default;
  // Readable when the process has exited; -1 when the system cannot tell.
  virtual int exit_fd() const = 0;
  // For logs; 0: none.
  virtual int pid() const = 0;
  // SIGKILL to the process and to what it has started. Idempotent; does not block.
  virtual void Kill() = 0;
  // How it ended: "exited with status 1", "was killed by signal 11 (SIGSEGV)". Blocks until it has:
  // call Kill before, or know that it has. Idempotent.
  virtual std::string Bury() = 0;
};

// What a started worker is reached by.
struct LaunchedWorker {
  UniqueFd channel;
  UniqueFd standard_output;  // may be none
  UniqueFd standard_error;   // may be none
  std::unique_ptr<WorkerProcess> process;
};

struct WorkerCommand {
  std::string interpreter;
  std::string script;
  std::vector<std::string> environment;  // "NAME=value", instead of the server's of that name
};

// Thread safe.
class WorkerLauncher {
 public:
  virtual ~WorkerLauncher() = default;
  // Blocks until the process is started. Errors: Unavailable with the reason.
  virtual Result<LaunchedWorker> Launch(const WorkerCommand& command) = 0;
};

// Starts every process on one thread, which ends with the spawner: workers ask the kernel to be
// killed when the thread that started them is gone. A worker is `interpreter script FD SERVER_PID`,
// leads a process group of its own, and has the channel as FD and no other descriptor of the
// server's than those of its standard streams.
class ProcessSpawner final : public WorkerLauncher {
 public:
  ProcessSpawner();
  ~ProcessSpawner() override;
  Result<LaunchedWorker> Launch(const WorkerCommand& command) override EXCLUDES(mutex_);

 private:
  struct Job;
  // Null: stopping.
  Job* AwaitJob() EXCLUDES(mutex_);
  void Loop() EXCLUDES(mutex_);

  Mutex mutex_;
  ConditionVariable changed_;
  std::deque<Job*> jobs_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  WorkerThread thread_;
};

}  // namespace fastserve
