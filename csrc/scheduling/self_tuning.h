// How large to batch and how long to wait, from what batches cost and how requests arrive: the
// policy of `dynamic_batching { }` with nothing in it. Derived in
// docs/design/004-self-tuning-batching.md.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "scheduling/cost_curve.h"

namespace fastserve {

// Told of every arrival, formed batch and completed batch, in the order of its owner's clock; asked
// for the two numbers of the next batch. Not thread safe: guarded by the batcher's mutex. No
// clock, no thread, no allocation; every call is O(1), but OnCompleted, which is O(log of the
// largest batch size).
//
// Invariants: 1. 1 <= row_limit() <= max_batch_size; 2. as long as a cost or arrivals are unknown,
// batches are as large as allowed and nothing waits; 3. nothing waits longer after a completion
// than one execution that the wait may save; 4. a size of unknown cost is tried so many times at
// most: requests of several rows may never make a batch of it.
class SelfTuning {
 public:
  SelfTuning(std::int64_t max_batch_size, std::size_t instance_count);

  void OnArrival(std::int64_t batch_size, std::int64_t now_ns);
  // A batch left the queue.
  void OnFormed(std::int64_t now_ns);
  // It was executed, in `cost_ns` (0: it failed, its cost says nothing).
  void OnCompleted(std::int64_t batch_size, std::int64_t cost_ns, std::int64_t now_ns);

  // The most rows of the next batch: the limit, or now and then another size, to learn its cost.
  std::int64_t row_limit() const;
  // Until when a batch of `batch_size` rows, fewer than the limit, should wait for more. 0: run it
  // now.
  std::int64_t WaitUntilNs(std::int64_t batch_size, std::int64_t now_ns) const;

  const CostCurve& costs() const { return costs_; }
  double arrivals_per_ns() const { return span_ns_ == 0 ? 0 : rows_ / span_ns_; }

 private:
  // The arrivals that follow one completion.
  struct Burst {
    std::int64_t begin_ns = 0;
    std::int64_t last_ns = 0;
    double answered = 1;  // rows of the batch that completed
    double rows = 0;
  };

  void CountRate(std::int64_t now_ns);
  void EndBurst(std::int64_t batch_size, std::int64_t now_ns);
  void ChooseBucket();
  std::size_t SmallestSuitable(std::size_t cheapest) const;
  std::size_t GrowWhileCheap(std::size_t bucket) const;
  // The bucket whose rows cost least; bucket_count() when none is known.
  std::size_t CheapestBucket() const;
  // True when rows in batches of this size instead of twice as large ones are answered earlier.
  bool MaySplit(std::size_t bucket) const;
  bool AnyKnownAbove(std::size_t bucket) const;
  // Of the next batch: bucket_, or one whose cost is to be learned.
  std::size_t NextBucket() const;
  // The one of unknown cost that the next batch tries; bucket_count() for none.
  std::size_t UnknownBucket() const;

  const double instances_;
  CostCurve costs_;

  std::size_t bucket_;  // the limit is its largest size
  bool busy_ = false;
  std::uint64_t busy_batches_ = 0;                              // decides when to explore
  std::array<std::uint32_t, CostCurve::kMostBuckets> tries_{};  // of unknown buckets

  // Arrivals: decaying sums of rows and of the time in which they came.
  double rows_ = 0;
  double span_ns_ = 0;
  double new_rows_ = 0;
  std::int64_t counted_until_ns_ = 0;
  double mean_cost_ns_ = 0;

  // What comes soon after a completion, on average: as long as a wait for it may save anything.
  double window_ns_ = 0;
  Burst current_;
  Burst previous_;
  double burst_share_ = 0;  // of the rows answered
  double burst_span_ns_ = 0;
};

}  // namespace fastserve
