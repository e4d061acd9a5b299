// A backend whose executions end when the test says so, on the test's thread: with the timer's
// thread waited for, a scheduler then takes one known step at a time.
#pragma once

#include <algorithm>
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
  // The ids of those that began after the first `count`.
  std::vector<std::vector<std::string>> started_after(std::size_t count) {
    const std::lock_guard lock(mutex_);
    return {started_.begin() + static_cast<std::ptrdiff_t>(count), started_.end()};
  }
  // Ends the oldest execution, with its inputs as outputs. `rescheduled`: see Execution.
  void End(std::vector<bool> rescheduled = {}) {
    EndOne([](const Running&) { return true; }, std::move(rescheduled));
  }
  // Ends the one whose first request this is.
  void EndOf(const std::string& id) {
    EndOne([&id](const Running& running) { return running.first->requests.at(0)->id == id; }, {});
  }

 private:
  static constexpr std::chrono::seconds kLongEnough{60};
  using Running = std::pair<Execution*, ExecutionObserver*>;

  template <typename Predicate>
  void EndOne(Predicate is_it, std::vector<bool> rescheduled) {
    Running ended;
    {
      const std::lock_guard lock(mutex_);
      const auto found = std::ranges::find_if(running_, is_it);
      ended = *found;
      running_.erase(found);
    }
    ended.first->outputs = ended.first->inputs;
    ended.first->rescheduled = std::move(rescheduled);
    ended.second->OnExecuted(ended.first, Status::Ok());
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::vector<std::string>> started_;
  std::deque<Running> running_;
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
