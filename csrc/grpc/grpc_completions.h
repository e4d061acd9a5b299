// What other threads hand to an I/O thread: answers that are ready, new connections, orders.
#pragma once

#include <memory>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "concurrency/delivery_scope.h"

namespace fastserve {

// Runs once, on the I/O thread; dropped without running when the thread has ended.
class GrpcCompletion {
 public:
  virtual ~GrpcCompletion() = default;
  virtual void Run() = 0;
};

// The loop of an I/O thread, as seen by a thread that stands in for it.
class GrpcLoop {
 public:
  virtual ~GrpcLoop() = default;
  // Runs what waits and writes the answers, holding the turn.
  virtual void StandIn() = 0;
};

// Many producers, one I/O thread. An eventfd wakes the thread, written only when it may be asleep.
// A producer with nothing better to do stands in for the sleeping thread, which saves the time to
// wake it. Shared with everything that may still answer, so it may outlive the server; after Close
// completions are dropped.
//
// Invariant: who runs completions or touches the loop's state holds the turn; the I/O thread holds
// it always, except while it waits for events.
class GrpcCompletions final : public Delivery,
                              public std::enable_shared_from_this<GrpcCompletions> {
 public:
  GrpcCompletions();
  ~GrpcCompletions() override;
  GrpcCompletions(const GrpcCompletions&) = delete;
  GrpcCompletions& operator=(const GrpcCompletions&) = delete;

  // Any thread. Never blocks beyond the mutex.
  void Push(std::unique_ptr<GrpcCompletion> completion) EXCLUDES(mutex_);
  void Deliver(bool may_linger) override EXCLUDES(mutex_, turn_);

  // --- the I/O thread ---
  Mutex& turn() RETURN_CAPABILITY(turn_) { return turn_; }
  // `loop` is stood in for from now on.
  void BindToThisThread(GrpcLoop* loop) REQUIRES(turn_);
  // Whether the caller is the I/O thread (valid once bound).
  bool OnThread() const { return std::this_thread::get_id() == thread_; }
  // True when nothing waits: the thread may sleep, and from now on Push wakes it.
  bool PrepareToSleep() EXCLUDES(mutex_);
  // Runs what waits. Returns true when there was anything.
  bool RunAll() REQUIRES(turn_) EXCLUDES(mutex_);
  void Close() REQUIRES(turn_) EXCLUDES(mutex_);
  // Ends the thread's wait for events.
  void Interrupt() const;
  // Readable after a wake; ClearWake reads it.
  int wake_fd() const { return wake_fd_; }
  void ClearWake();

 private:
  const int wake_fd_;
  std::thread::id thread_;  // written before any other thread knows this object's producers
  Mutex turn_;
  GrpcLoop* loop_ GUARDED_BY(turn_) = nullptr;  // null before and after the thread
  std::vector<std::unique_ptr<GrpcCompletion>> running_ GUARDED_BY(turn_);  // keeps its capacity
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
