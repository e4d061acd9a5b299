#include "metrics/bucket_histogram.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace fastserve {

BucketHistogram::BucketHistogram(std::vector<double> bounds)
    : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}

void BucketHistogram::Record(double value) {
  const auto bound = std::ranges::lower_bound(bounds_, value);
  ++counts_[static_cast<std::size_t>(bound - bounds_.begin())];
  sum_ += value;
}

BucketHistogram::Snapshot BucketHistogram::Read() const {
  Snapshot snapshot{bounds_, counts_, sum_};
  std::partial_sum(counts_.begin(), counts_.end(), snapshot.cumulative.begin());
  return snapshot;
}

}  // namespace fastserve
