// Which waiting requests make the next batch, and whether to wait for more: Triton's dynamic
// batching rules, as pure functions of the queue. Source: Triton user guide "batcher.md" (preferred
// batch sizes, delayed batching).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "inference/model_spec.h"
#include "scheduling/policy_queue.h"
#include "scheduling/self_tuning.h"

namespace fastserve {

// True when both requests can share a batch: the same inputs, with equal shapes apart from the
// batch dimension. The shapes of the inputs named in `ragged` may differ.
bool SameBatchShape(const InferRequest& a, const InferRequest& b,
                    std::span<const std::string> ragged);

// The first `request_count` requests of the queue make a batch of `batch_size` rows. `ready_at_ns`
// is 0 when the batch is to run now, else the time until which waiting may still improve it.
// request_count 0: the queue is empty.
struct BatchChoice {
  std::size_t request_count = 0;
  std::int64_t batch_size = 0;
  std::int64_t ready_at_ns = 0;
};

class BatchPolicy {
 public:
  explicit BatchPolicy(const ModelSpec& spec);
  // O(size of the batch).
  BatchChoice Choose(const PolicyQueue& queue, std::int64_t now_ns) const;
  // As `tuning` says instead of preferred sizes and a delay.
  BatchChoice ChooseTuned(const PolicyQueue& queue, const SelfTuning& tuning,
                          std::int64_t now_ns) const;

 private:
  // The requests at the front that can share a batch, and those of them that make a preferred size.
  struct Prefix {
    BatchChoice all;
    BatchChoice preferred;
    std::int64_t oldest_ns = INT64_MAX;  // when its oldest request was queued
    bool closed = false;                 // the next request cannot join
  };

  bool IsPreferred(std::int64_t batch_size) const;
  Prefix LongestPrefix(const PolicyQueue& queue, std::int64_t row_limit) const;

  const bool dynamic_;
  const std::int64_t max_batch_size_;
  const std::int64_t max_queue_delay_ns_;
  const std::vector<std::string> ragged_;
  const std::vector<std::string> counted_;
  std::vector<std::int64_t> preferred_;  // ascending; max_batch_size when none are configured
};

}  // namespace fastserve
