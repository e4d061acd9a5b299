// A backend that the test drives: it echoes its inputs as outputs, waits where told to, fails where
// told to, and remembers.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "backend/backend.h"

namespace fastserve {

// What the instances of one puppet share with the test. Thread safe.
class PuppetStrings {
 public:
  struct Seen {
    std::vector<std::string> request_ids;
    std::int64_t batch_size = 0;
    std::string instance;
    std::thread::id thread;
  };

  // Executions from now on wait for Release.
  void Hold() {
    const std::lock_guard lock(mutex_);
    held_ = true;
  }
  void Release() {
    const std::lock_guard lock(mutex_);
    held_ = false;
    changed_.notify_all();
  }
  // Every execution from now on ends with this status.
  void EndWith(Status status) {
    const std::lock_guard lock(mutex_);
    status_ = std::move(status);
  }
  // Blocks until `count` executions have begun.
  void AwaitStarted(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return seen_.size() >= count; });
  }
  std::vector<Seen> seen() {
    const std::lock_guard lock(mutex_);
    return seen_;
  }

  void OnCreate(const std::string& instance) {
    const std::lock_guard lock(mutex_);
    created_.push_back(instance);
  }
  // The names of the instances that models made.
  std::vector<std::string> created() {
    const std::lock_guard lock(mutex_);
    return created_;
  }

  Status OnExecute(const Execution& execution, const std::string& instance = "") {
    std::unique_lock lock(mutex_);
    Seen& seen = seen_.emplace_back();
    for (const RequestPtr& request : execution.requests) seen.request_ids.push_back(request->id);
    seen.batch_size = execution.batch_size;
    seen.instance = instance;
    seen.thread = std::this_thread::get_id();
    changed_.notify_all();
    changed_.wait(lock, [&] { return !held_; });
    return status_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool held_ = false;
  Status status_;
  std::vector<Seen> seen_;
  std::vector<std::string> created_;
};

class PuppetInstance final : public BackendInstance {
 public:
  explicit PuppetInstance(std::shared_ptr<PuppetStrings> strings, std::string name = "")
      : strings_(std::move(strings)), name_(std::move(name)) {}

  void Execute(Execution* execution, ExecutionObserver* observer) override {
    const Status status = strings_->OnExecute(*execution, name_);
    if (status.ok()) execution->outputs = execution->inputs;
    observer->OnExecuted(execution, status);
  }

 private:
  const std::shared_ptr<PuppetStrings> strings_;
  const std::string name_;
};

class PuppetModel final : public BackendModel {
 public:
  explicit PuppetModel(std::shared_ptr<PuppetStrings> strings) : strings_(std::move(strings)) {}
  Result<std::unique_ptr<BackendInstance>> CreateInstance(const std::string& name) override {
    strings_->OnCreate(name);
    return std::unique_ptr<BackendInstance>(std::make_unique<PuppetInstance>(strings_, name));
  }

 private:
  const std::shared_ptr<PuppetStrings> strings_;
};

class PuppetBackend final : public Backend {
 public:
  explicit PuppetBackend(std::shared_ptr<PuppetStrings> strings) : strings_(std::move(strings)) {}
  std::string_view name() const override { return "puppet"; }
  Result<ModelSignature> ReadSignature(const ModelSpec&) override {
    return Status::Unsupported("a puppet has none");
  }
  Result<std::unique_ptr<BackendModel>> LoadModel(std::shared_ptr<const ModelSpec>) override {
    return std::unique_ptr<BackendModel>(std::make_unique<PuppetModel>(strings_));
  }

 private:
  const std::shared_ptr<PuppetStrings> strings_;
};

}  // namespace fastserve
