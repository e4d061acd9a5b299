// What other threads hand to an I/O thread: answers that are ready, new connections, orders.
#pragma once

#include <memory>
#include <thread>
#include <vector>

#include "base/mutex.h"

namespace fastserve {

// Runs once, on the I/O thread; dropped without running when the thread has ended.
class GrpcCompletion {
 public:
  virtual ~GrpcCompletion() = default;
  virtual void Run() = 0;
};

// Many producers, one I/O thread. An eventfd wakes the thread, written only when it may be asleep.
// Shared with everything that may still answer, so it may outlive the server; after Close
// completions are dropped.
class GrpcCompletions {
 public:
  GrpcCompletions();
  ~GrpcCompletions();
  GrpcCompletions(const GrpcCompletions&) = delete;
  GrpcCompletions& operator=(const GrpcCompletions&) = delete;

  // Any thread. Never blocks beyond the mutex.
  void Push(std::unique_ptr<GrpcCompletion> completion) EXCLUDES(mutex_);

  // --- the I/O thread ---
  void BindToThisThread() { thread_ = std::this_thread::get_id(); }
  // Whether the caller is the I/O thread (valid once bound).
  bool OnThread() const { return std::this_thread::get_id() == thread_; }
  // True when nothing waits: the thread may sleep, and from now on Push wakes it.
  bool PrepareToSleep() EXCLUDES(mutex_);
  // Runs what waits. Returns true when there was anything.
  bool RunAll() EXCLUDES(mutex_);
  void Close() EXCLUDES(mutex_);
  // Readable after a wake; ClearWake reads it.
  int wake_fd() const { return wake_fd_; }
  void ClearWake();

 private:
  const int wake_fd_;
  std::thread::id thread_;  // written before any other thread knows this object's producers
  std::vector<std::unique_ptr<GrpcCompletion>> running_;  // the I/O thread's, kept for its capacity
  Mutex mutex_;
  std::vector<std::unique_ptr<GrpcCompletion>> waiting_ GUARDED_BY(mutex_);
  bool asleep_ GUARDED_BY(mutex_) = false;
  bool closed_ GUARDED_BY(mutex_) = false;
};

// A function as a completion.
template <typename Function>
class GrpcTask final : public GrpcCompletion {
 public:
  explicit GrpcTask(Function function) : function_(std::move(function)) {}
  void Run() override { function_(); }

 private:
  Function function_;
};
template <typename Function>
std::unique_ptr<GrpcCompletion> MakeGrpcTask(Function function) {
  return std::make_unique<GrpcTask<Function>>(std::move(function));
}

}  // namespace fastserve
