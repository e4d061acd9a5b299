// A named thread that is joined by its owner.
#pragma once

#include <functional>
#include <string>
#include <thread>

#include "base/status.h"

namespace fastserve {

// Owned and used by one thread; the destructor joins. The body runs with every signal blocked, so
// that signals reach the thread that waits for them (Python's main thread).
class WorkerThread {
 public:
  WorkerThread() = default;
  // Starts `body`. `name` is shown by top and gdb, cut to 15 characters. The process ends when no
  // thread can be made.
  WorkerThread(const std::string& name, std::function<void()> body) noexcept;
  // The same, where the caller can do without the thread. Error: Unavailable when none can be made;
  // `body` is not run then.
  static Result<WorkerThread> TryStart(const std::string& name, std::function<void()> body);
  ~WorkerThread() { Join(); }
  WorkerThread(WorkerThread&& other) noexcept = default;
  WorkerThread& operator=(WorkerThread&& other) noexcept {
    Join();
    thread_ = std::move(other.thread_);
    return *this;
  }

  bool started() const { return thread_.joinable(); }
  // Blocks until the body returned; nothing when not started. Not from the body.
  void Join() {
    if (thread_.joinable()) thread_.join();
  }
  // As Join, but from the body itself it lets the thread go: the body must keep alive what it uses.
  void JoinOrLetGo() {
    if (thread_.get_id() == std::this_thread::get_id()) {
      thread_.detach();
    } else {
      Join();
    }
  }

 private:
  // Throws std::system_error when no thread can be made.
  void Start(const std::string& name, std::function<void()> body);

  std::thread thread_;
};

}  // namespace fastserve
