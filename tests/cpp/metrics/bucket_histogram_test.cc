#include "metrics/bucket_histogram.h"

#include <gtest/gtest.h>

#include <vector>

namespace fastserve {
namespace {

TEST(BucketHistogram, CountsAValueUnderEveryBoundThatIsNotBelowIt) {
  BucketHistogram histogram({0.5, 10, 100});
  for (const double value : {0.25, 0.5, 0.75, 10.0, 11.0, 1000.0}) histogram.Record(value);
  const BucketHistogram::Snapshot snapshot = histogram.Read();
  EXPECT_EQ(snapshot.bounds, (std::vector<double>{0.5, 10, 100}));
  EXPECT_EQ(snapshot.cumulative, (std::vector<std::uint64_t>{2, 4, 5, 6}));
  EXPECT_DOUBLE_EQ(snapshot.sum, 1022.5);
}

TEST(BucketHistogram, WithoutValuesIsAllZero) {
  const BucketHistogram::Snapshot snapshot = BucketHistogram({1}).Read();
  EXPECT_EQ(snapshot.cumulative, (std::vector<std::uint64_t>{0, 0}));
  EXPECT_EQ(snapshot.sum, 0);
}

}  // namespace
}  // namespace fastserve
