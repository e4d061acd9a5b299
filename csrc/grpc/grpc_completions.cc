#include "grpc/grpc_completions.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>

namespace fastserve {

GrpcCompletions::GrpcCompletions() : wake_fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}

GrpcCompletions::~GrpcCompletions() {
  if (wake_fd_ >= 0) close(wake_fd_);
}

void GrpcCompletions::Push(std::unique_ptr<GrpcCompletion> completion) {
  {
    MutexLock lock(mutex_);
    if (closed_) return;
    waiting_.push_back(std::move(completion));
    if (!asleep_) return;
  }
  if (!DeliveryScope::Defer(shared_from_this())) Deliver(/*may_linger=*/false);
}

void GrpcCompletions::Deliver(bool may_linger) {
  if (may_linger && turn_.TryLock()) {
    if (loop_ != nullptr) loop_->StandIn();
    turn_.Unlock();
    return;
  }
  {
    MutexLock lock(mutex_);
    if (!asleep_ || waiting_.empty()) return;
    asleep_ = false;
  }
  Interrupt();
}

void GrpcCompletions::Interrupt() const {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_fd_, &one, sizeof one);
}

void GrpcCompletions::BindToThisThread(GrpcLoop* loop) {
  thread_ = std::this_thread::get_id();
  loop_ = loop;
}

bool GrpcCompletions::PrepareToSleep() {
  MutexLock lock(mutex_);
  asleep_ = waiting_.empty();
  return asleep_;
}

bool GrpcCompletions::RunAll() {
  {
    MutexLock lock(mutex_);
    asleep_ = false;
    if (waiting_.empty()) return false;
    running_.swap(waiting_);
  }
  for (auto& completion : running_) completion->Run();
  running_.clear();
  return true;
}

void GrpcCompletions::Close() {
  loop_ = nullptr;
  std::vector<std::unique_ptr<GrpcCompletion>> dropped;
  MutexLock lock(mutex_);
  closed_ = true;
  dropped.swap(waiting_);
}

void GrpcCompletions::ClearWake() {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t size = read(wake_fd_, &count, sizeof count);
}

}  // namespace fastserve
