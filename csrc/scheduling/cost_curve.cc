#include "scheduling/cost_curve.h"

#include <algorithm>
#include <bit>

namespace fastserve {

namespace {
constexpr std::uint32_t kSettled = 16;  // the newest measurement counts one sixteenth from then on
constexpr double kWildest = 0.5;        // of the average: a deviation counts no more than this
}  // namespace

CostCurve::CostCurve(std::int64_t max_batch_size)
    : max_batch_size_(std::max<std::int64_t>(max_batch_size, 1)),
      bucket_count_(BucketOf(max_batch_size_) + 1) {}

std::size_t CostCurve::BucketOf(std::int64_t batch_size) {
  const auto above = static_cast<std::uint64_t>(std::max<std::int64_t>(batch_size, 1) - 1);
  return std::min<std::size_t>(static_cast<std::size_t>(std::bit_width(above)), kMostBuckets - 1);
}

std::int64_t CostCurve::LargestOf(std::size_t bucket) const {
  return std::min(std::int64_t{1} << bucket, max_batch_size_);
}

void CostCurve::Record(std::int64_t batch_size, std::int64_t cost_ns) {
  Point& point = points_[std::min(BucketOf(batch_size), bucket_count_ - 1)];
  const auto size = static_cast<double>(std::max<std::int64_t>(batch_size, 1));
  const auto cost = static_cast<double>(std::max<std::int64_t>(cost_ns, 1));
  point.count = std::min(point.count + 1, kSettled);
  if (point.count <= kEnough) {
    // The first executions of a size pay for allocations and cold caches: the cheapest counts.
    if (point.count == 1 || cost / size < point.cost_ns / point.batch_size) {
      point.batch_size = size;
      point.cost_ns = cost;
    }
    return;
  }
  const double weight = 1.0 / point.count;
  // Compared at equal size, so that a larger batch of the bucket is not taken for a wild one.
  const double expected = point.cost_ns * size / point.batch_size;
  const double bounded = std::clamp(cost, expected * (1 - kWildest), expected * (1 + kWildest));
  point.batch_size += weight * (size - point.batch_size);
  point.cost_ns += weight * (bounded - point.cost_ns);
}

// Outside of the known sizes costs are taken as proportional to the size: then nothing is saved.
double CostCurve::InterpolateNs(double batch_size) const {
  const Point* below = nullptr;
  for (std::size_t i = 0; i < bucket_count_; ++i) {
    const Point& point = points_[i];
    if (!IsKnown(i)) continue;
    if (batch_size <= point.batch_size) {
      if (below == nullptr) return point.cost_ns * batch_size / point.batch_size;
      const double part = (batch_size - below->batch_size) / (point.batch_size - below->batch_size);
      return below->cost_ns + part * (point.cost_ns - below->cost_ns);
    }
    below = &point;
  }
  return below == nullptr ? 0 : below->cost_ns * batch_size / below->batch_size;
}

double CostCurve::SavingNs(double a, double b) const {
  return std::max(0.0, InterpolateNs(a) + InterpolateNs(b) - InterpolateNs(a + b));
}

}  // namespace fastserve
