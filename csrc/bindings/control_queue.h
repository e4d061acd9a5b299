// The calls that models make to the server (load_model, ...) on their way to Python's event loop
// and back.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/unique_fd.h"

namespace fastserve {

// Workers' threads put calls in without the GIL; the event loop is told through a descriptor that
// becomes readable. Thread safe.
class ControlQueue {
 public:
  ControlQueue();

  // See InferenceHost::Control.
  void Put(std::string call, std::function<void(std::string)> done) EXCLUDES(mutex_);
  // Readable while calls wait; Take makes it unreadable.
  int fd() const { return fd_.get(); }
  // (id, JSON) of each.
  std::vector<std::pair<std::uint64_t, std::string>> Take() EXCLUDES(mutex_);
  // A call that has been answered already, or is unknown, is ignored.
  void Answer(std::uint64_t id, std::string json) EXCLUDES(mutex_);

 private:
  const UniqueFd fd_;
  Mutex mutex_;
  std::uint64_t next_id_ GUARDED_BY(mutex_) = 1;
  std::vector<std::pair<std::uint64_t, std::string>> waiting_ GUARDED_BY(mutex_);
  std::unordered_map<std::uint64_t, std::function<void(std::string)>> open_ GUARDED_BY(mutex_);
};

}  // namespace fastserve
