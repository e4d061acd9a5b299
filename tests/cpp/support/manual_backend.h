// A backend whose executions end when the test says so, on the test's thread: with the timer's
// thread waited for, a scheduler then takes one known step at a time.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <semaphore>
#include <string>
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
    changed_.notify_all();
  }
  // How many have begun, once they are `count`, or no healthy machine would need so long.
  std::size_t AwaitStarted(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kLongEnough, [&] { return started_.size() >= count; });
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
  static constexpr std::chrono::seconds kLongEnough{60};

  std::mutex mutex_;
  std::condition_variable changed_;
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

}  // namespace fastserve
