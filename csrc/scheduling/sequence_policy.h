// Which of the ready sequences make the next batch of an instance, and whether to wait for more:
// Triton's direct and oldest strategies. Source: Triton user guide, "Sequence Batcher", and
// ModelSequenceBatching in model_config.proto.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "inference/model_spec.h"
#include "scheduling/sequence_states.h"
#include "scheduling/sequence_table.h"

namespace fastserve {

// `rows` make the batch, in order; null is a row without a request. Empty: nothing can run.
// `ready_at_ns` is 0 when the batch is to run now, else until when waiting may still improve it.
struct SequenceChoice {
  SequenceRows rows;
  std::int64_t ready_at_ns = 0;
};

// The sequence that has been ready for longest is in every choice, so that none starves; those
// whose shapes differ from its shapes wait for a batch of their own. Thread safe.
class SequencePolicy {
 public:
  // `states` outlives the policy.
  SequencePolicy(std::shared_ptr<const ModelSpec> spec, const SequenceStates& states);

  // How many sequences one instance serves at a time.
  std::int64_t places_per_instance() const { return places_; }
  // Linear in the ready sequences.
  SequenceChoice Choose(const SequenceTable::Ready& ready, std::int64_t now_ns) const;

 private:
  SequenceChoice ChooseDirect(const SequenceTable::Ready& ready, std::int64_t now_ns) const;
  SequenceChoice ChooseOldest(const SequenceTable::Ready& ready, std::int64_t now_ns) const;
  SequenceRows OfOneShape(const SequenceTable::Ready& ready) const;

  const std::shared_ptr<const ModelSpec> spec_;
  const SequenceStates& states_;
  const std::int64_t max_batch_size_;
  const std::int64_t places_;
  const std::int64_t max_queue_delay_ns_;
  const std::vector<std::string> ragged_;
  const std::vector<std::string> counted_;
  std::vector<std::int64_t> preferred_;  // oldest: ascending, not empty
};

// Triton's times in microseconds as nanoseconds, 73 years at most.
std::int64_t NsFromUs(std::uint64_t us);

}  // namespace fastserve
