#include "metrics/latency_summary.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace fastserve {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

double Median(const LatencySummary& summary, std::int64_t now_ns) {
  const double half = 0.5;
  return summary.Read({&half, 1}, now_ns).values.at(0);
}

TEST(LatencySummary, HasNoQuantilesWithoutValues) {
  const LatencySummary summary;
  EXPECT_TRUE(std::isnan(Median(summary, kSecond)));
  EXPECT_EQ(summary.Read({}, kSecond).count, 0U);
}

TEST(LatencySummary, IsExactForShortLatencies) {
  LatencySummary summary;
  for (std::uint64_t us = 0; us <= 100; ++us) summary.Record(us, 1, kSecond);
  const std::vector<double> quantiles = {0, 0.5, 0.99, 1};
  EXPECT_EQ(summary.Read(quantiles, kSecond).values, (std::vector<double>{0, 50, 99, 100}));
}

TEST(LatencySummary, IsWithinItsRelativeErrorAtEveryMagnitude) {
  for (double us = 1; us < 4e9; us *= 1.07) {
    const auto value = static_cast<std::uint64_t>(us);
    LatencySummary summary;
    summary.Record(value, 1, kSecond);
    const auto exact = static_cast<double>(value);
    EXPECT_NEAR(Median(summary, kSecond), exact, exact * LatencySummary::kRelativeError);
  }
}

TEST(LatencySummary, KeepsValuesBeyondItsRangeInTheLastBucket) {
  LatencySummary summary;
  summary.Record(~std::uint64_t{0}, 1, kSecond);
  EXPECT_NEAR(Median(summary, kSecond), 4.29e9, 0.05e9);
}

// The ranks that Triton's default summary_quantiles allow.
TEST(LatencySummary, DefaultQuantilesAreWithinTheirErrors) {
  constexpr std::pair<double, double> kAllowed[] = {
      {0.5, 0.05}, {0.9, 0.01}, {0.95, 0.001}, {0.99, 0.001}, {0.999, 0.001}};
  std::mt19937 random(7);
  std::lognormal_distribution<double> latency(7, 1.5);
  LatencySummary summary;
  std::vector<double> values;
  for (int i = 0; i < 200'000; ++i) {
    const auto us = static_cast<std::uint64_t>(latency(random));
    summary.Record(us, 1, kSecond);
    values.push_back(static_cast<double>(us));
  }
  std::ranges::sort(values);
  for (const auto& [quantile, error] : kAllowed) {
    const double value = summary.Read({&quantile, 1}, kSecond).values.at(0);
    const auto rank = static_cast<double>(std::ranges::lower_bound(values, value) - values.begin());
    EXPECT_NEAR(rank / static_cast<double>(values.size()), quantile, error) << value;
  }
}

TEST(LatencySummary, CountsABatchOfEqualValuesAtOnce) {
  LatencySummary summary;
  summary.Record(10, 3, kSecond);
  summary.Record(20, 1, kSecond);
  EXPECT_EQ(Median(summary, kSecond), 10);
  const auto snapshot = summary.Read({}, kSecond);
  EXPECT_EQ(snapshot.count, 4U);
  EXPECT_EQ(snapshot.sum_us, 50U);
}

TEST(LatencySummary, ForgetsWhatIsOlderThanAMinuteButNotItsSum) {
  LatencySummary summary;
  summary.Record(10, 100, 0);
  for (std::int64_t second : {0, 20, 47}) EXPECT_EQ(Median(summary, second * kSecond), 10);
  EXPECT_TRUE(std::isnan(Median(summary, 60 * kSecond)));
  summary.Record(90, 1, 61 * kSecond);
  EXPECT_EQ(Median(summary, 61 * kSecond), 90);
  EXPECT_EQ(summary.Read({}, 61 * kSecond).count, 101U);
  EXPECT_EQ(summary.Read({}, 61 * kSecond).sum_us, 1090U);
}

TEST(LatencySummary, SlidesInFiveParts) {
  LatencySummary summary;
  for (std::int64_t second = 0; second < 60; ++second)
    summary.Record(static_cast<std::uint64_t>(second), 1, second * kSecond);
  const double lowest = 0;
  // 60 s is the first moment of the sixth part: the first one, of 0 to 11 s, is gone.
  EXPECT_EQ(summary.Read({&lowest, 1}, 59 * kSecond).values[0], 0);
  EXPECT_EQ(summary.Read({&lowest, 1}, 60 * kSecond).values[0], 12);
  EXPECT_EQ(summary.Read({&lowest, 1}, 72 * kSecond).values[0], 24);
}

TEST(LatencySummary, ALateThreadCountsInTheNewerPart) {
  LatencySummary summary;
  summary.Record(10, 1, 61 * kSecond);
  summary.Record(30, 2, 1 * kSecond);
  EXPECT_EQ(Median(summary, 61 * kSecond), 30);
}

}  // namespace
}  // namespace fastserve
