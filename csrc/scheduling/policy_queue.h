// The waiting requests of one model in service order, with priority levels and the timeouts of
// their queue policies. Not thread safe: guarded by the scheduler's mutex. Every operation is O(1),
// or O(log n) in the requests that have a timeout. Source: Triton's ModelDynamicBatching and
// ModelQueuePolicy (model_config.proto).
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "inference/model_spec.h"
#include "inference/request.h"

namespace fastserve {

// Levels count from 0, the most urgent; Triton's level N is N - 1 here, and a model without levels
// has one.
//
// Invariants: 1. a linked request has queue_link.self set, and only then; 2. requests leave level
// by level, in each in the order of arrival, those whose timeout passed under DELAY last; 3. the
// queue holds one reference to each linked request; 4. no level before first_level_ has a request.
class PolicyQueue {
 public:
  explicit PolicyQueue(const DynamicBatchingSpec& spec);
  PolicyQueue(const PolicyQueue&) = delete;
  PolicyQueue& operator=(const PolicyQueue&) = delete;
  ~PolicyQueue();

  // Appends a request to its level; its timeout starts at timestamps.queue_start.
  void Push(RequestPtr request);
  // Takes a linked request out; null when it is not linked (not here, or gone already).
  RequestPtr Remove(InferRequest* request);
  // The request to serve next; null when empty. Follow with Next.
  InferRequest* front() const { return FirstFrom(first_level_); }
  InferRequest* Next(const InferRequest* request) const;
  // Applies the timeout action to every request whose deadline is at or before `now_ns`: REJECT
  // appends it to `rejected`.
  void Expire(std::int64_t now_ns, std::vector<RequestPtr>* rejected);
  // Earliest timeout; 0 = none.
  std::int64_t next_deadline_ns() const {
    return deadlines_.empty() ? 0 : deadlines_.begin()->first;
  }
  bool empty() const { return front() == nullptr; }

  // --- thread safe ---
  std::size_t level_count() const { return levels_.size(); }
  // The level of a request: its priority, or the default for none and for one that is out of range.
  std::uint32_t LevelOf(const InferRequest& request) const;
  const QueuePolicySpec& policy(std::uint32_t level) const { return levels_[level].policy; }
  // The timeout that applies to a request; 0 = none.
  std::uint64_t TimeoutUs(const InferRequest& request) const;

 private:
  struct Lane {
    InferRequest* head = nullptr;
    InferRequest* tail = nullptr;
  };
  struct Level {
    QueuePolicySpec policy;
    Lane lanes[2];  // [0] in time, [1] delayed
  };

  InferRequest* FirstFrom(std::uint32_t level) const;
  void Link(Lane* lane, RequestPtr request);
  RequestPtr Unlink(Lane* lane, InferRequest* request);

  std::vector<Level> levels_;
  const std::uint32_t default_level_;  // below levels_.size()
  std::uint32_t first_level_ = 0;
  std::set<std::pair<std::int64_t, InferRequest*>> deadlines_;
};

}  // namespace fastserve
