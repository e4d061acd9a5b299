// How the requests of one model version wait and run: what the engine asks of every scheduler.
#pragma once

#include <cstdint>

#include "inference/request.h"

namespace fastserve {

// Owned by its LoadedModel. Thread safe. Invariant: every request enqueued is completed exactly
// once. All pass tests/cpp/scheduling's contract suite.
class Scheduler {
 public:
  virtual ~Scheduler() = default;

  // Takes a validated request, or fails it. Never blocks. With `lend`, the caller promises to call
  // RunLent soon and nobody is woken.
  virtual void Enqueue(const RequestPtr& request, bool lend) = 0;
  // True when executing on an I/O thread costs less than waking a worker would.
  virtual bool lendable() const { return false; }
  // Runs what is queued on this thread while that is cheap. True when it ran any.
  virtual bool RunLent() { return false; }
  // Leaves what was enqueued with `lend` to the scheduler's own threads.
  virtual void WakeWorker() {}
  // Ends the scheduler's threads after what they run now, and fails what still waits, and what is
  // enqueued from now on, as Unavailable. Idempotent. Blocks, except for a thread of its own that
  // it is called from (by the response that dropped the last reference to the model).
  virtual void Stop() = 0;

  // Requests that wait to be executed.
  virtual std::uint64_t pending_requests() const = 0;
};

}  // namespace fastserve
