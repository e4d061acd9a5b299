#include "bindings/control_queue.h"

#include <sys/eventfd.h>
#include <unistd.h>

namespace fastserve {

ControlQueue::ControlQueue() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}

void ControlQueue::Put(std::string call, std::function<void(std::string)> done) {
  {
    const MutexLock lock(mutex_);
    const std::uint64_t id = next_id_++;
    open_.emplace(id, std::move(done));
    waiting_.emplace_back(id, std::move(call));
  }
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(fd_.get(), &one, sizeof one);
}

std::vector<std::pair<std::uint64_t, std::string>> ControlQueue::Take() {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t size = read(fd_.get(), &count, sizeof count);
  const MutexLock lock(mutex_);
  return std::exchange(waiting_, {});
}

void ControlQueue::Answer(std::uint64_t id, std::string json) {
  std::function<void(std::string)> done;
  {
    const MutexLock lock(mutex_);
    const auto found = open_.find(id);
    if (found == open_.end()) return;
    done = std::move(found->second);
    open_.erase(found);
  }
  done(std::move(json));
}

}  // namespace fastserve
