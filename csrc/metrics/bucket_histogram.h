// A histogram with the buckets that a configuration asks for, for the Prometheus type histogram.
#pragma once

#include <cstdint>
#include <vector>

namespace fastserve {

// Not thread safe: guarded by its owner's mutex.
class BucketHistogram {
 public:
  struct Snapshot {
    std::vector<double> bounds;
    std::vector<std::uint64_t> cumulative;  // values <= bounds[i]; one more: all values
    double sum = 0;
  };

  // `bounds`: upper bounds, ascending.
  explicit BucketHistogram(std::vector<double> bounds);

  void Record(double value);
  Snapshot Read() const;

 private:
  const std::vector<double> bounds_;
  std::vector<std::uint64_t> counts_;  // one more than bounds
  double sum_ = 0;
};

}  // namespace fastserve
