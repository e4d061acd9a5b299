// A puppet that never blocks its scheduler, as the worker process of a Python model does.
#pragma once

#include <memory>
#include <utility>

#include "support/execution_thread.h"
#include "support/puppet_backend.h"

namespace fastserve {

// Runs one batch after another on a thread of its own, and takes a second one meanwhile.
class AsynchronousPuppet final : public BackendInstance {
 public:
  explicit AsynchronousPuppet(std::shared_ptr<PuppetStrings> strings)
      : thread_([strings = std::move(strings)](const Execution& execution) {
          return strings->OnExecute(execution);
        }) {}

  int depth() const override { return 2; }
  bool never_blocks() const override { return true; }
  void Execute(Execution* execution, ExecutionObserver* observer) override {
    thread_.Add(execution, observer);
  }
  void Stop() override { thread_.Stop(); }

 private:
  ExecutionThread thread_;
};

}  // namespace fastserve
