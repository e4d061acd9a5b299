// The right to run one batch on one instance, with the memory that a batch needs, reused from batch
// to batch.
#pragma once

#include <cstddef>
#include <vector>

#include "backend/backend.h"
#include "scheduling/model_statistics.h"

namespace fastserve {

class DynamicBatcher;
class ResourceClaim;  // rate_limiter.h
struct HostPolicy;    // concurrency/host_policy.h

// Owned by its DynamicBatcher; used by the thread that took it from the idle slots until Run hands
// it back (a backend of depth 2 hands it back from its own thread).
class BatchSlot final : public ExecutionObserver {
 public:
  // `claim` and `host_policy` may be null: no limits, any core.
  BatchSlot(DynamicBatcher* batcher, BackendInstance* instance, std::size_t instance_index,
            ResourceClaim* claim, const HostPolicy* host_policy)
      : batcher_(*batcher),
        instance_(*instance),
        instance_index_(instance_index),
        claim_(claim),
        host_policy_(host_policy) {}

  std::size_t instance_index() const { return instance_index_; }
  ResourceClaim* claim() const { return claim_; }
  const HostPolicy* host_policy() const { return host_policy_; }
  bool ready() const { return instance_.ready(); }

  std::vector<RequestPtr>& requests() { return execution_.requests; }
  // The batch's place in the order of formation.
  void set_ticket(std::uint64_t ticket) { ticket_ = ticket; }
  // Executes the batch; every request is completed and the slot given back before OnExecuted
  // returns. A lending thread looks at the queue itself afterwards: no worker is woken for it.
  void Run(bool lent = false);
  void OnExecuted(Execution* execution, Status status) override;

 private:
  // Of a backend that answers each request itself: one response per request, none of a decoupled
  // model.
  Status CheckResponseCount() const;
  void Finish(const Status& status);
  // Counts the batch, and of its requests those that are answered.
  void Record(bool succeeded);
  void Respond(const Status& status);

  DynamicBatcher& batcher_;
  BackendInstance& instance_;
  const std::size_t instance_index_;
  ResourceClaim* const claim_;
  const HostPolicy* const host_policy_;
  Execution execution_;
  bool lent_ = false;
  std::uint64_t ticket_ = 0;
  BatchTimes times_;
  std::vector<InferResponse> responses_;
};

}  // namespace fastserve
