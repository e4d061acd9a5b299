// Waiting requests in order of arrival, linked through themselves. Not thread safe. Every operation
// is O(1).
#pragma once

#include <cstddef>
#include <utility>

#include "inference/request.h"

namespace fastserve {

// Holds one reference to each linked request; a request is in at most one queue of its scheduler.
class RequestList {
 public:
  RequestList() = default;
  RequestList(const RequestList&) = delete;
  RequestList& operator=(const RequestList&) = delete;
  ~RequestList() {
    while (head_ != nullptr) Remove(head_);
  }

  void PushBack(RequestPtr request) {
    InferRequest* raw = request.get();
    QueueLink& link = raw->queue_link;
    link.self = std::move(request);
    link.previous = tail_;
    link.next = nullptr;
    (tail_ != nullptr ? tail_->queue_link.next : head_) = raw;
    tail_ = raw;
    ++size_;
  }
  // The request must be linked in this list.
  RequestPtr Remove(InferRequest* request) {
    QueueLink& link = request->queue_link;
    (link.previous != nullptr ? link.previous->queue_link.next : head_) = link.next;
    (link.next != nullptr ? link.next->queue_link.previous : tail_) = link.previous;
    link.previous = link.next = nullptr;
    --size_;
    return std::move(link.self);
  }
  InferRequest* front() const { return head_; }
  InferRequest* back() const { return tail_; }
  std::size_t size() const { return size_; }

 private:
  InferRequest* head_ = nullptr;
  InferRequest* tail_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace fastserve
