#include "scheduling/sequence_policy.h"

#include <algorithm>
#include <utility>

#include "scheduling/batch_policy.h"
#include "scheduling/ragged_batch.h"

namespace fastserve {

namespace {

std::int64_t EarliestArrival(const SequenceTable::Ready& ready) {
  std::int64_t earliest = INT64_MAX;
  for (const SequenceTable::Turn& turn : ready)
    earliest = std::min(earliest, turn.sequence->front()->timestamps.queue_start);
  return earliest;
}

// Each sequence in the row of its slot; rows below the last that have none stay empty.
SequenceRows InTheirRows(const SequenceRows& sequences) {
  SequenceRows rows;
  for (Sequence* sequence : sequences) {
    const auto row = static_cast<std::size_t>(sequence->place->slot);
    if (rows.size() <= row) rows.resize(row + 1, nullptr);
    rows[row] = sequence;
  }
  return rows;
}

}  // namespace

std::int64_t NsFromUs(std::uint64_t us) {
  return static_cast<std::int64_t>(std::min<std::uint64_t>(us, INT64_MAX / 4000) * 1000);
}

SequencePolicy::SequencePolicy(std::shared_ptr<const ModelSpec> spec, const SequenceStates& states)
    : spec_(std::move(spec)),
      states_(states),
      max_batch_size_(std::max(spec_->max_batch_size, 1)),
      places_(spec_->sequence_batching.strategy == SequenceStrategy::kOldest
                  ? std::max<std::int64_t>(spec_->sequence_batching.max_candidate_sequences, 1)
                  : max_batch_size_),
      max_queue_delay_ns_(NsFromUs(spec_->sequence_batching.max_queue_delay_us)),
      ragged_(RaggedInputs(*spec_)),
      counted_(CountedInputs(*spec_)),
      preferred_(spec_->sequence_batching.preferred_batch_sizes) {
  if (preferred_.empty()) preferred_.push_back(max_batch_size_);
  std::ranges::sort(preferred_);
}

SequenceChoice SequencePolicy::Choose(const SequenceTable::Ready& ready,
                                      std::int64_t now_ns) const {
  if (ready.empty()) return {};
  const bool direct = spec_->sequence_batching.strategy == SequenceStrategy::kDirect;
  return direct ? ChooseDirect(ready, now_ns) : ChooseOldest(ready, now_ns);
}

SequenceRows SequencePolicy::OfOneShape(const SequenceTable::Ready& ready) const {
  Sequence* first = ready.begin()->sequence;
  SequenceRows rows{first};
  BatchElements elements(counted_);
  (void)elements.Add(*first->front());
  for (auto turn = std::next(ready.begin()); turn != ready.end(); ++turn) {
    if (static_cast<std::int64_t>(rows.size()) == max_batch_size_) break;
    Sequence* sequence = turn->sequence;
    if (SameBatchShape(*first->front(), *sequence->front(), ragged_) &&
        states_.SameShapes(*first, *sequence) && elements.Add(*sequence->front())) {
      rows.push_back(sequence);
    }
  }
  return rows;
}

// The delay counts only beside a minimum utilization, as in Triton.
SequenceChoice SequencePolicy::ChooseDirect(const SequenceTable::Ready& ready,
                                            std::int64_t now_ns) const {
  SequenceChoice choice{InTheirRows(OfOneShape(ready)), 0};
  const double wanted =
      spec_->sequence_batching.minimum_slot_utilization * static_cast<double>(places_);
  if (max_queue_delay_ns_ == 0 || static_cast<double>(ready.size()) >= wanted) return choice;
  const std::int64_t ready_at_ns = EarliestArrival(ready) + max_queue_delay_ns_;
  if (ready_at_ns > now_ns) choice.ready_at_ns = ready_at_ns;
  return choice;
}

SequenceChoice SequencePolicy::ChooseOldest(const SequenceTable::Ready& ready,
                                            std::int64_t now_ns) const {
  SequenceChoice choice{OfOneShape(ready), 0};
  const auto count = static_cast<std::int64_t>(choice.rows.size());
  const auto above = std::ranges::upper_bound(preferred_, count);
  if (above != preferred_.begin()) {
    choice.rows.resize(static_cast<std::size_t>(*std::prev(above)));
    return choice;
  }
  const std::int64_t ready_at_ns = EarliestArrival(ready) + max_queue_delay_ns_;
  if (max_queue_delay_ns_ != 0 && ready_at_ns > now_ns) choice.ready_at_ns = ready_at_ns;
  return choice;
}

}  // namespace fastserve
