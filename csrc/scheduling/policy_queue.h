// The waiting requests of one model in service order, with the queue policy's timeouts. Not thread
// safe: guarded by the scheduler's mutex. Every operation is O(1), or O(log n) in the requests that
// have a timeout. Source: Triton's ModelQueuePolicy (model_config.proto).
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "inference/model_spec.h"
#include "inference/request.h"

namespace fastserve {

// Invariants: 1. a linked request has queue_link.self set, and only then; 2. requests leave in the
// order of arrival, those whose timeout passed under DELAY after all others; 3. the queue holds one
// reference to each linked request.
class PolicyQueue {
 public:
  explicit PolicyQueue(const QueuePolicySpec& policy) : policy_(policy) {}
  PolicyQueue(const PolicyQueue&) = delete;
  PolicyQueue& operator=(const PolicyQueue&) = delete;
  ~PolicyQueue();

  // Appends a request; its timeout starts at timestamps.queue_start.
  void Push(RequestPtr request);
  // Takes a linked request out; null when it is not linked (not here, or gone already).
  RequestPtr Remove(InferRequest* request);
  // The request to serve next; null when empty. Follow with Next.
  InferRequest* front() const {
    return lanes_[0].head != nullptr ? lanes_[0].head : lanes_[1].head;
  }
  InferRequest* Next(const InferRequest* request) const;
  // Applies the timeout action to every request whose deadline is at or before `now_ns`: REJECT
  // appends it to `rejected`.
  void Expire(std::int64_t now_ns, std::vector<RequestPtr>* rejected);
  // Earliest timeout; 0 = none.
  std::int64_t next_deadline_ns() const {
    return deadlines_.empty() ? 0 : deadlines_.begin()->first;
  }
  bool empty() const { return front() == nullptr; }
  // The timeout that applies to a request; 0 = none. Thread safe.
  std::uint64_t TimeoutUs(const InferRequest& request) const;

 private:
  struct Lane {
    InferRequest* head = nullptr;
    InferRequest* tail = nullptr;
  };

  void Link(Lane* lane, RequestPtr request);
  RequestPtr Unlink(Lane* lane, InferRequest* request);

  const QueuePolicySpec policy_;
  Lane lanes_[2];  // [0] in time, [1] delayed
  std::set<std::pair<std::int64_t, InferRequest*>> deadlines_;
};

}  // namespace fastserve
