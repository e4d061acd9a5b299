#include "scheduling/self_tuning.h"

#include <algorithm>

namespace fastserve {

namespace {

constexpr double kRateWeight = 1.0 / 64;  // of the newest batch in the rate of arrivals
constexpr double kWeight = 1.0 / 16;      // of the newest batch in the other averages
// A pause counts as at most so many executions, so that a burst after it is soon taken for one.
constexpr double kLongestPause = 8;
// Costs per row closer than this are equal: that is how well they can be measured.
constexpr double kEqual = 1.02;
// A batch may be smaller than the most efficient size as long as the share 12 / (12 + instances) of
// the idle time is kept. Several instances share the wait behind others, so that less will do.
constexpr double kKeptIdle = 12;
// Of the cost per row at half the size: a + 2kb > 1.5 (a + kb) where kb > a.
constexpr double kLeastForSplit = 0.75;
// Batches shorter than this are not made smaller for the sake of latency: what forms a batch and
// answers it costs as much.
constexpr double kCheapNs = 100'000;
// A saving below this is not worth a timer and two thread switches.
constexpr double kLeastSavingNs = 100'000;
// A wait goes on a little longer than the arrivals took on average.
constexpr double kPatience = 1.25;
// The part of the time that instances are busy from which on sizes are tried out.
constexpr double kBusy = 0.8;
// Every so many batches that are limited one has another size.
constexpr std::uint64_t kExploreEvery = 64;
// Enough to learn the cost of a size that batches do have.
constexpr std::uint32_t kMostTries = 8;

void Average(double* average, double value, double weight) {
  *average += weight * (value - *average);
}

}  // namespace

SelfTuning::SelfTuning(std::int64_t max_batch_size, std::size_t instance_count)
    : instances_(static_cast<double>(std::max<std::size_t>(instance_count, 1))),
      costs_(max_batch_size),
      bucket_(costs_.bucket_count() - 1) {}

void SelfTuning::OnArrival(std::int64_t batch_size, std::int64_t now_ns) {
  const auto rows = static_cast<double>(batch_size);
  new_rows_ += rows;
  Burst& burst = now_ns >= current_.begin_ns ? current_ : previous_;
  const auto after_ns = static_cast<double>(now_ns - burst.begin_ns);
  if (after_ns < 0 || after_ns > window_ns_) return;
  burst.rows += rows;
  burst.last_ns = std::max(burst.last_ns, now_ns);
}

void SelfTuning::OnFormed(std::int64_t now_ns) {
  if (busy_) {
    if (const std::size_t tried = UnknownBucket(); tried < costs_.bucket_count()) ++tries_[tried];
    ++busy_batches_;
  }
  CountRate(now_ns);
}

void SelfTuning::CountRate(std::int64_t now_ns) {
  if (counted_until_ns_ != 0 && mean_cost_ns_ > 0) {
    const auto passed_ns =
        static_cast<double>(std::max<std::int64_t>(now_ns - counted_until_ns_, 0));
    rows_ += new_rows_ - kRateWeight * rows_;
    span_ns_ += std::min(passed_ns, kLongestPause * mean_cost_ns_) - kRateWeight * span_ns_;
  }
  new_rows_ = 0;
  counted_until_ns_ = now_ns;
}

void SelfTuning::OnCompleted(std::int64_t batch_size, std::int64_t cost_ns, std::int64_t now_ns) {
  EndBurst(batch_size, now_ns);
  if (cost_ns <= 0) return;
  costs_.Record(batch_size, cost_ns);
  const auto cost = static_cast<double>(cost_ns);
  Average(&mean_cost_ns_, cost, mean_cost_ns_ == 0 ? 1 : kWeight);
  ChooseBucket();
  const double half = static_cast<double>(costs_.LargestOf(bucket_)) / 2;
  window_ns_ = costs_.SavingNs(half, half);
}

// Requests are seen when somebody looks at the queue, so that those of the burst before the last
// are complete only now.
void SelfTuning::EndBurst(std::int64_t batch_size, std::int64_t now_ns) {
  if (previous_.begin_ns != 0) {
    Average(&burst_share_, previous_.rows / previous_.answered, kWeight);
    if (previous_.rows > 0) {
      Average(&burst_span_ns_, static_cast<double>(previous_.last_ns - previous_.begin_ns),
              burst_span_ns_ == 0 ? 1 : kWeight);
    }
  }
  previous_ = current_;
  current_ = {now_ns, now_ns, static_cast<double>(std::max<std::int64_t>(batch_size, 1)), 0};
}

std::size_t SelfTuning::CheapestBucket() const {
  std::size_t cheapest = costs_.bucket_count();
  for (std::size_t i = 0; i < costs_.bucket_count(); ++i) {
    if (!costs_.IsKnown(i)) continue;
    if (cheapest == costs_.bucket_count() ||
        costs_.CostPerRowNs(i) < costs_.CostPerRowNs(cheapest)) {
      cheapest = i;
    }
  }
  return cheapest;
}

// The smallest size that leaves most of the idle time that the most efficient one would leave, and
// whose rows are answered earlier than those of larger batches.
std::size_t SelfTuning::SmallestSuitable(std::size_t cheapest) const {
  const double rate = arrivals_per_ns() / instances_;
  const double least = costs_.CostPerRowNs(cheapest);
  const double kept = kKeptIdle / (kKeptIdle + instances_);
  const double least_idle = kept * std::max(0.0, 1 - rate * least);
  for (std::size_t i = 0; i < cheapest; ++i) {
    if (!costs_.IsKnown(i)) continue;
    const double per_row = costs_.CostPerRowNs(i);
    if (per_row <= least * kEqual) return i;
    const double idle = 1 - rate * per_row;
    if (idle > 0 && idle >= least_idle && MaySplit(i)) return i;
  }
  return cheapest;
}

// The largest of the sizes above that are cheap, if its rows are cheaper.
std::size_t SelfTuning::GrowWhileCheap(std::size_t bucket) const {
  std::size_t chosen = bucket;
  for (std::size_t next = bucket + 1; next < costs_.bucket_count(); ++next) {
    if (!costs_.IsKnown(next)) continue;
    if (costs_.CostNs(next) > kCheapNs) break;
    if (costs_.CostPerRowNs(next) < costs_.CostPerRowNs(chosen)) chosen = next;
  }
  return chosen;
}

void SelfTuning::ChooseBucket() {
  const std::size_t cheapest = CheapestBucket();
  if (cheapest == costs_.bucket_count()) return;
  bucket_ = GrowWhileCheap(SmallestSuitable(cheapest));
  busy_ = arrivals_per_ns() / instances_ * costs_.CostPerRowNs(bucket_) > kBusy;
  // The load asks for the cheapest rows there are, and larger batches may have cheaper ones.
  if (bucket_ == cheapest && !AnyKnownAbove(bucket_)) bucket_ = costs_.bucket_count() - 1;
}

// Two batches of this size instead of one: the first rows are answered earlier by what the others
// would have added (k * b), the others later by what a batch costs without rows (a).
bool SelfTuning::MaySplit(std::size_t bucket) const {
  const std::size_t twice = bucket + 1;
  return costs_.IsKnown(twice) &&
         costs_.CostPerRowNs(twice) > kLeastForSplit * costs_.CostPerRowNs(bucket);
}

bool SelfTuning::AnyKnownAbove(std::size_t bucket) const {
  for (std::size_t i = bucket + 1; i < costs_.bucket_count(); ++i) {
    if (costs_.IsKnown(i)) return true;
  }
  return false;
}

std::size_t SelfTuning::UnknownBucket() const {
  const std::uint64_t turn = busy_batches_ + 1;
  const std::size_t tried = turn / 2 % costs_.bucket_count();
  const bool wanted = turn % 2 == 0 && !costs_.IsKnown(tried) && tries_[tried] < kMostTries;
  return wanted ? tried : costs_.bucket_count();
}

// Under load every second batch tries a size whose cost is unknown; when none is left to try, now
// and then one tries a neighbour of the limit, in turn on either side.
std::size_t SelfTuning::NextBucket() const {
  if (!busy_) return bucket_;
  if (const std::size_t tried = UnknownBucket(); tried < costs_.bucket_count()) return tried;
  const std::uint64_t turn = busy_batches_ + 1;
  if (turn % kExploreEvery != 0) return bucket_;
  const bool smaller = bucket_ + 1 == costs_.bucket_count() || turn % (2 * kExploreEvery) == 0;
  if (smaller) return bucket_ == 0 ? 0 : bucket_ - 1;
  return bucket_ + 1;
}

std::int64_t SelfTuning::row_limit() const { return costs_.LargestOf(NextBucket()); }

std::int64_t SelfTuning::WaitUntilNs(std::int64_t batch_size, std::int64_t now_ns) const {
  const double expected = burst_share_ * current_.answered - current_.rows;
  const double end_ns = static_cast<double>(current_.begin_ns) + kPatience * burst_span_ns_;
  const double wait_ns = end_ns - static_cast<double>(now_ns);
  if (expected < 0.5 || wait_ns <= 0) return 0;
  const auto rows = static_cast<double>(batch_size);
  const auto limit = static_cast<double>(costs_.LargestOf(bucket_));
  const double joining = std::min(expected, limit - rows);
  if (joining <= 0) return 0;
  const double saving_ns = costs_.SavingNs(rows, joining);
  if (saving_ns < kLeastSavingNs || wait_ns > saving_ns) return 0;
  if ((rows + joining) * instances_ * wait_ns >= joining * saving_ns) return 0;
  return static_cast<std::int64_t>(end_ns);
}

}  // namespace fastserve
