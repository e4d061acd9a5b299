#include "scheduling/cost_curve.h"

#include <gtest/gtest.h>

namespace fastserve {
namespace {

void RecordOften(CostCurve* curve, std::int64_t batch_size, std::int64_t cost_ns, int times = 40) {
  for (int i = 0; i < times; ++i) curve->Record(batch_size, cost_ns);
}

TEST(CostCurveTest, SizesOfOnePowerOfTwoShareABucket) {
  EXPECT_EQ(CostCurve::BucketOf(1), 0U);
  EXPECT_EQ(CostCurve::BucketOf(2), 1U);
  EXPECT_EQ(CostCurve::BucketOf(3), 2U);
  EXPECT_EQ(CostCurve::BucketOf(4), 2U);
  EXPECT_EQ(CostCurve::BucketOf(5), 3U);
}

TEST(CostCurveTest, LastBucketEndsAtTheMaximum) {
  const CostCurve curve(24);
  EXPECT_EQ(curve.bucket_count(), 6U);
  EXPECT_EQ(curve.LargestOf(4), 16);
  EXPECT_EQ(curve.LargestOf(5), 24);
}

TEST(CostCurveTest, LargestPossibleMaximumHasABucket) {
  CostCurve curve(INT32_MAX);
  EXPECT_EQ(curve.LargestOf(curve.bucket_count() - 1), INT32_MAX);
  RecordOften(&curve, INT32_MAX, 5);
  EXPECT_TRUE(curve.IsKnown(curve.bucket_count() - 1));
}

TEST(CostCurveTest, ASizeIsKnownAfterThreeMeasurements) {
  CostCurve curve(8);
  RecordOften(&curve, 4, 100, 2);
  EXPECT_FALSE(curve.IsKnown(2));
  curve.Record(4, 100);
  EXPECT_TRUE(curve.IsKnown(2));
  EXPECT_DOUBLE_EQ(curve.CostPerRowNs(2), 25);
}

TEST(CostCurveTest, FirstColdExecutionDoesNotCount) {
  CostCurve curve(8);
  curve.Record(1, 1'000'000);
  RecordOften(&curve, 1, 100, 2);
  EXPECT_DOUBLE_EQ(curve.CostNs(0), 100);
}

TEST(CostCurveTest, WildMeasurementMovesTheAverageOnlyALittle) {
  CostCurve curve(8);
  RecordOften(&curve, 1, 3200);
  curve.Record(1, 1'000'000'000);
  EXPECT_NEAR(curve.CostNs(0), 3300, 1);
}

TEST(CostCurveTest, FollowsALastingChange) {
  CostCurve curve(8);
  RecordOften(&curve, 1, 1000);
  RecordOften(&curve, 1, 4000, 200);
  EXPECT_NEAR(curve.CostNs(0), 4000, 40);
}

TEST(CostCurveTest, SavesTheFixedCostOfALine) {
  CostCurve curve(32);
  for (const int size : {1, 2, 4, 8, 16, 32}) RecordOften(&curve, size, 500 + 10 * size);
  EXPECT_NEAR(curve.SavingNs(3, 5), 500, 1);
  EXPECT_NEAR(curve.SavingNs(10, 10), 500, 1);
}

TEST(CostCurveTest, SavesNothingWhereLargerBatchesAreDearer) {
  CostCurve curve(32);
  for (const int size : {1, 2, 4, 8}) RecordOften(&curve, size, 100 * size * size);
  EXPECT_EQ(curve.SavingNs(2, 2), 0);
}

TEST(CostCurveTest, SavesNothingThatIsNotMeasured) {
  CostCurve curve(32);
  EXPECT_EQ(curve.SavingNs(1, 1), 0);
  RecordOften(&curve, 4, 1000);
  EXPECT_EQ(curve.SavingNs(1, 1), 0);
  EXPECT_NEAR(curve.SavingNs(8, 8), 0, 1e-6);
}

}  // namespace
}  // namespace fastserve
