// The histogram is exact enough, and windows are differences.
#include "perf/latency_histogram.h"

#include <gtest/gtest.h>

#include <cmath>

namespace fastserve::perf {
namespace {

constexpr double kUs = 1e3;

TEST(LatencyHistogram, EveryLatencyFromOneMicrosecondToOneMinuteIsKeptWithinHalfAPercent) {
  for (double ns = 1 * kUs; ns < 60e9; ns *= 1.00317) {
    const auto exact = static_cast<std::int64_t>(ns);
    const double kept = LatencyOfBucket(LatencyBucket(exact));
    ASSERT_NEAR(kept / static_cast<double>(exact), 1.0, 0.005) << exact;
  }
}

TEST(LatencyHistogram, BucketsRiseWithTheLatency) {
  std::size_t last = 0;
  for (std::int64_t ns = 0; ns < 100000; ++ns) {
    const std::size_t bucket = LatencyBucket(ns);
    ASSERT_GE(bucket, last);
    ASSERT_LE(bucket, last + 1);
    last = bucket;
  }
}

TEST(LatencyHistogram, LatenciesOutOfRangeGoIntoTheFirstAndLastBucket) {
  EXPECT_EQ(LatencyBucket(-5), 0U);
  EXPECT_EQ(LatencyBucket(std::int64_t{1} << 60), kLatencyBuckets - 1);
}

TEST(LatencyHistogram, PercentilesAreTheNearestRank) {
  LatencyRecorder recorder;
  for (int us = 1; us <= 1000; ++us) recorder.Record(us * 1000);
  LatencyCounts counts;
  recorder.CopyTo(&counts);
  EXPECT_NEAR(counts.PercentileNs(50), 500 * kUs, 5 * kUs);
  EXPECT_NEAR(counts.PercentileNs(99), 990 * kUs, 10 * kUs);
  EXPECT_NEAR(counts.PercentileNs(100), 1000 * kUs, 10 * kUs);
  EXPECT_NEAR(counts.PercentileNs(0), 1 * kUs, 0.01 * kUs);
  EXPECT_NEAR(counts.MeanNs(), 500.5 * kUs, 3 * kUs);
  EXPECT_NEAR(counts.StandardDeviationNs(), 288.8 * kUs, 3 * kUs);
}

TEST(LatencyHistogram, AnEmptyWindowHasZeroes) {
  const LatencyCounts counts;
  EXPECT_EQ(counts.count(), 0);
  EXPECT_EQ(counts.PercentileNs(99), 0);
  EXPECT_EQ(counts.MeanNs(), 0);
  EXPECT_EQ(counts.StandardDeviationNs(), 0);
}

TEST(LatencyHistogram, AWindowHoldsOnlyWhatCameAfterItsBeginning) {
  LatencyRecorder recorder;
  recorder.Record(1000);
  LatencyCounts before;
  recorder.CopyTo(&before);
  recorder.Record(5000000);
  LatencyCounts after;
  recorder.CopyTo(&after);
  after.Subtract(before);
  EXPECT_EQ(after.count(), 1);
  EXPECT_NEAR(after.PercentileNs(1), 5000000, 25000);
  after.Add(before);
  EXPECT_EQ(after.count(), 2);
}

}  // namespace
}  // namespace fastserve::perf
