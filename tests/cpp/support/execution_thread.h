// A thread that runs executions, for backends that never block their scheduler.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

#include "backend/backend.h"

namespace fastserve {

// Runs one batch after another and reports it: with the status of `run`, and echoed when that is
// OK. Its thread ends with it.
class ExecutionThread {
 public:
  using Run = std::function<Status(const Execution&)>;

  explicit ExecutionThread(Run run) : run_(std::move(run)), thread_([this] { Loop(); }) {}
  ~ExecutionThread() {
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
      changed_.notify_all();
    }
    thread_.join();
  }
  ExecutionThread(const ExecutionThread&) = delete;
  ExecutionThread& operator=(const ExecutionThread&) = delete;

  void Add(Execution* execution, ExecutionObserver* observer) {
    const std::lock_guard lock(mutex_);
    given_.emplace_back(execution, observer);
    changed_.notify_all();
  }
  // What does not run yet is refused; returns when everything was reported.
  void Stop() {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    changed_.wait(lock, [this] { return given_.empty() && !running_; });
  }

 private:
  void Loop() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return ended_ || !given_.empty(); });
      if (given_.empty()) return;
      const auto [execution, observer] = given_.front();
      given_.pop_front();
      running_ = true;
      Status status = stopping_ ? Status::Unavailable("the instance has stopped") : Status::Ok();
      lock.unlock();
      if (status.ok()) status = run_(*execution);
      if (status.ok()) execution->outputs = execution->inputs;
      observer->OnExecuted(execution, status);
      lock.lock();
      running_ = false;
      changed_.notify_all();
    }
  }

  const Run run_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::pair<Execution*, ExecutionObserver*>> given_;
  bool running_ = false;
  bool stopping_ = false;
  bool ended_ = false;
  std::thread thread_;  // last: it uses the members above
};

}  // namespace fastserve
