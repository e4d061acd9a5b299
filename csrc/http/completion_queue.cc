#include "http/completion_queue.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>
#include <utility>

namespace fastserve {

CompletionQueue::CompletionQueue()
    : owner_(std::this_thread::get_id()), event_fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}

CompletionQueue::~CompletionQueue() {
  if (event_fd_ >= 0) close(event_fd_);
}

void CompletionQueue::Push(Completion completion) {
  bool first = false;
  {
    MutexLock lock(mutex_);
    first = waiting_.empty();
    waiting_.push_back(std::move(completion));
  }
  if (!first) return;
  const bool owner_will_deliver = std::this_thread::get_id() == owner_ && delivery_promised_;
  if (owner_will_deliver || DeliveryScope::Defer(shared_from_this())) return;
  Wake();
}

void CompletionQueue::Deliver(bool) { Wake(); }

void CompletionQueue::Wake() const {
  const std::uint64_t one = 1;
  // Fails only when the counter is full, and then the loop is awake anyway.
  [[maybe_unused]] const ssize_t written = write(event_fd_, &one, sizeof(one));
}

void CompletionQueue::DeliverAfterWake() {
  std::uint64_t count = 0;
  // Read before the queue is emptied: a reply pushed in between wakes the loop again.
  [[maybe_unused]] const ssize_t size = read(event_fd_, &count, sizeof(count));
  DeliverWaiting();
}

void CompletionQueue::DeliverWaiting() {
  // A target may cause a nested call only through a new event of the loop, so `delivering_` is
  // free here.
  std::vector<Completion> batch = std::move(delivering_);
  {
    MutexLock lock(mutex_);
    batch.swap(waiting_);
  }
  for (Completion& completion : batch) {
    completion.target->OnReply(std::move(completion.reply));
    completion.target.reset();
  }
  batch.clear();
  delivering_ = std::move(batch);  // keeps the capacity
}

}  // namespace fastserve
