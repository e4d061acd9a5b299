// Runs the work on large JSON bodies, which would hold up every other connection of an event loop.
#pragma once

#include <deque>
#include <functional>

#include "base/mutex.h"
#include "concurrency/worker_thread.h"

namespace fastserve {

// One thread, started by the first task; tasks run in order. Post never blocks for long. The
// destructor runs what is queued and joins.
class ParseThread {
 public:
  ParseThread() = default;
  ~ParseThread();
  ParseThread(const ParseThread&) = delete;
  ParseThread& operator=(const ParseThread&) = delete;

  // From one thread only.
  void Post(std::function<void()> task) EXCLUDES(mutex_);

 private:
  void Run() EXCLUDES(mutex_);

  Mutex mutex_;
  ConditionVariable changed_;
  std::deque<std::function<void()>> tasks_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  WorkerThread thread_;
};

}  // namespace fastserve
