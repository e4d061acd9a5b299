// A backend whose executions end when the test says so, on the test's thread: with the timer's
// thread waited for, a scheduler then takes one known step at a time.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <semaphore>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "base/clock.h"
#include "concurrency/deadline_timer.h"

namespace fastserve {

// What the instances of one model share with the test. Thread safe.
class ManualStrings {
 public:
  void Begin(Execution* execution, ExecutionObserver* observer) {
    const std::lock_guard lock(mutex_);
    auto& ids = started_.emplace_back();
    for (const RequestPtr& request : execution->requests) ids.push_back(request->id);
    running_.emplace_back(execution, observer);
  }
  std::size_t started() {
    const std::lock_guard lock(mutex_);
    return started_.size();
  }
  // The ids of the execution that began last, "" for a row without a request.
  std::vector<std::string> last_started() {
    const std::lock_guard lock(mutex_);
    return started_.back();
  }
  // Ends the oldest execution, with its inputs as outputs. `rescheduled`: see Execution.
  void End(std::vector<bool> rescheduled = {}) {
    std::pair<Execution*, ExecutionObserver*> oldest;
    {
      const std::lock_guard lock(mutex_);
      oldest = running_.front();
      running_.pop_front();
    }
    oldest.first->outputs = oldest.first->inputs;
    oldest.first->rescheduled = std::move(rescheduled);
    oldest.second->OnExecuted(oldest.first, Status::Ok());
  }

 private:
  std::mutex mutex_;
  std::vector<std::vector<std::string>> started_;
  std::deque<std::pair<Execution*, ExecutionObserver*>> running_;
};

class ManualInstance final : public BackendInstance {
 public:
  explicit ManualInstance(std::shared_ptr<ManualStrings> strings) : strings_(std::move(strings)) {}
  void Execute(Execution* execution, ExecutionObserver* observer) override {
    strings_->Begin(execution, observer);
  }

 private:
  const std::shared_ptr<ManualStrings> strings_;
};

// Blocks until every callback that is due has run.
inline void AwaitDueCallbacks(const Clock& clock, DeadlineTimer* timer) {
  std::binary_semaphore ran{0};
  timer->Schedule(clock.NowNs(), [&ran] { ran.release(); });
  ran.acquire();
}

// False when `condition` does not come true within a time that no healthy machine needs.
inline bool Eventually(const std::function<bool()>& condition) {
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > limit) return false;
    std::this_thread::yield();
  }
  return true;
}

}  // namespace fastserve
