// A puppet that never blocks its scheduler, as the worker process of a Python model does.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "support/puppet_backend.h"

namespace fastserve {

// Runs one batch after another on a thread of its own, and takes a second one meanwhile.
class AsynchronousPuppet final : public BackendInstance {
 public:
  explicit AsynchronousPuppet(std::shared_ptr<PuppetStrings> strings)
      : strings_(std::move(strings)), thread_([this] { Run(); }) {}
  ~AsynchronousPuppet() override {
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
      changed_.notify_all();
    }
    thread_.join();
  }

  int depth() const override { return 2; }
  bool never_blocks() const override { return true; }
  void Execute(Execution* execution, ExecutionObserver* observer) override {
    const std::lock_guard lock(mutex_);
    given_.emplace_back(execution, observer);
    changed_.notify_all();
  }
  void Stop() override {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    changed_.wait(lock, [this] { return given_.empty() && !running_; });
  }

 private:
  void Run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return ended_ || !given_.empty(); });
      if (given_.empty()) return;
      const auto [execution, observer] = given_.front();
      given_.pop_front();
      running_ = true;
      Status status = stopping_ ? Status::Unavailable("the instance has stopped") : Status::Ok();
      lock.unlock();
      if (status.ok()) status = strings_->OnExecute(*execution);
      if (status.ok()) execution->outputs = execution->inputs;
      observer->OnExecuted(execution, status);
      lock.lock();
      running_ = false;
      changed_.notify_all();
    }
  }

  const std::shared_ptr<PuppetStrings> strings_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::pair<Execution*, ExecutionObserver*>> given_;
  bool running_ = false;
  bool stopping_ = false;
  bool ended_ = false;
  std::thread thread_;  // last: it uses the members above
};

}  // namespace fastserve
