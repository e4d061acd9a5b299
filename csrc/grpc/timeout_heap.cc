#include "grpc/timeout_heap.h"

namespace fastserve {

Timeout::~Timeout() {
  if (heap_ != nullptr) heap_->Disarm(this);
}

void TimeoutHeap::Arm(Timeout* timeout, std::int64_t deadline_ns) {
  Disarm(timeout);
  if (deadline_ns == kNever) return;
  timeout->heap_ = this;
  entries_.push_back({deadline_ns, timeout});
  timeout->index_ = entries_.size() - 1;
  SiftUp(entries_.size() - 1);
}

void TimeoutHeap::Disarm(Timeout* timeout) {
  if (timeout->heap_ == nullptr) return;
  timeout->heap_ = nullptr;
  const std::size_t index = timeout->index_;
  const Entry last = entries_.back();
  entries_.pop_back();
  if (index == entries_.size()) return;
  Place(index, last);
  SiftUp(index);
  SiftDown(last.timeout->index_);
}

void TimeoutHeap::FireDue(std::int64_t now_ns) {
  while (!entries_.empty() && entries_.front().deadline_ns <= now_ns) {
    Timeout* timeout = entries_.front().timeout;
    Disarm(timeout);
    timeout->fire_();
  }
}

void TimeoutHeap::SiftUp(std::size_t index) {
  const Entry entry = entries_[index];
  while (index > 0) {
    const std::size_t parent = (index - 1) / 2;
    if (entries_[parent].deadline_ns <= entry.deadline_ns) break;
    Place(index, entries_[parent]);
    index = parent;
  }
  Place(index, entry);
}

void TimeoutHeap::SiftDown(std::size_t index) {
  const Entry entry = entries_[index];
  for (;;) {
    std::size_t child = index * 2 + 1;
    if (child >= entries_.size()) break;
    if (child + 1 < entries_.size() &&
        entries_[child + 1].deadline_ns < entries_[child].deadline_ns)
      ++child;
    if (entry.deadline_ns <= entries_[child].deadline_ns) break;
    Place(index, entries_[child]);
    index = child;
  }
  Place(index, entry);
}

void TimeoutHeap::Place(std::size_t index, Entry entry) {
  entries_[index] = entry;
  entry.timeout->index_ = index;
}

}  // namespace fastserve
