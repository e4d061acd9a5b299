// The requests that `repeat` models answer, each at its own pace, on one thread per model.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>

#include "base/mutex.h"
#include "concurrency/worker_thread.h"
#include "inference/request.h"

namespace fastserve {

class Repeat;
using RepeatPtr = std::shared_ptr<Repeat>;

// What the thread, the requests under way and their readers share. Thread safe.
// Invariant: a request that was accepted is in active_ until its final response is about to be
// sent, by the thread or by FailActive.
class RepeatSchedule {
 public:
  // False when stopped.
  bool Accept(const RepeatPtr& repeat) EXCLUDES(mutex_);
  // The thread continues with `repeat` after `delay_ns`; never, when stopped.
  void Schedule(const RepeatPtr& repeat, std::int64_t delay_ns) EXCLUDES(mutex_);
  // True: the caller gives the final response.
  bool End(const RepeatPtr& repeat) EXCLUDES(mutex_);
  // The thread's: blocks until something is due; null when stopped.
  RepeatPtr Next() EXCLUDES(mutex_);
  void Stop() EXCLUDES(mutex_);
  void FailActive() EXCLUDES(mutex_);

 private:
  Mutex mutex_;
  ConditionVariable changed_;
  bool stopped_ GUARDED_BY(mutex_) = false;
  std::set<RepeatPtr> active_ GUARDED_BY(mutex_);
  std::multimap<std::int64_t, RepeatPtr> due_ GUARDED_BY(mutex_);  // by Clock::NowNs()
};

// Owns the thread. Thread safe. The destructor stops, maybe on the thread itself.
class RepeatRun {
 public:
  RepeatRun();
  ~RepeatRun() { Stop(); }
  RepeatRun(const RepeatRun&) = delete;
  RepeatRun& operator=(const RepeatRun&) = delete;

  // Takes over a request; a malformed one is failed. Does not block.
  void Start(const RequestPtr& request);
  // Fails what is under way; afterwards nothing is answered. Blocks. Idempotent.
  void Stop();

 private:
  const std::shared_ptr<RepeatSchedule> schedule_;
  WorkerThread thread_;
};

}  // namespace fastserve
