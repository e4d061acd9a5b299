#include "bindings/admin_queue.h"

#include <sys/eventfd.h>
#include <unistd.h>

namespace fastserve {

AdminQueue::AdminQueue() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}

AdminQueue::~AdminQueue() {
  if (fd_ >= 0) close(fd_);
}

void AdminQueue::OnAdminCall(std::string_view method, std::string request,
                             std::unique_ptr<AdminResponder> responder) {
  {
    MutexLock lock(mutex_);
    const std::uint64_t id = next_id_++;
    responders_.emplace(id, std::move(responder));
    waiting_.push_back({id, std::string(method), std::move(request)});
  }
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(fd_, &one, sizeof one);
}

std::vector<PendingAdminCall> AdminQueue::Take() {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t size = read(fd_, &count, sizeof count);
  std::vector<PendingAdminCall> taken;
  MutexLock lock(mutex_);
  taken.swap(waiting_);
  return taken;
}

void AdminQueue::Answer(std::uint64_t id, GrpcStatus status, std::string message) {
  std::unique_ptr<AdminResponder> responder;
  {
    MutexLock lock(mutex_);
    const auto found = responders_.find(id);
    if (found == responders_.end()) return;
    responder = std::move(found->second);
    responders_.erase(found);
  }
  responder->Answer(std::move(status), std::move(message));
}

}  // namespace fastserve
