#include "metrics/latency_histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "support/random.h"

namespace fastserve {
namespace {

TEST(LatencyHistogram, CountsAValueUnderEveryBoundThatIsNotBelowIt) {
  RepeatableRandom random(3);
  std::vector<std::uint64_t> values = {0, 1, 2, UINT64_MAX / 4};
  for (const std::uint64_t bound : LatencyHistogram::kBoundsUs) {
    values.insert(values.end(), {bound - 1, bound, bound + 1});
  }
  for (int i = 0; i < 2'000; ++i) values.push_back(random() >> (35 + random() % 29));
  for (const std::uint64_t value : values) {
    LatencyHistogram histogram;
    histogram.Record(value);
    const LatencyHistogram::Snapshot snapshot = histogram.TakeSnapshot();
    for (std::size_t i = 0; i < LatencyHistogram::kBoundsUs.size(); ++i) {
      ASSERT_EQ(snapshot.cumulative[i], value <= LatencyHistogram::kBoundsUs[i] ? 1u : 0u)
          << value << " under " << LatencyHistogram::kBoundsUs[i];
    }
    ASSERT_EQ(snapshot.count(), 1u);
    ASSERT_EQ(snapshot.sum_us, value);
  }
}

TEST(LatencyHistogram, HasBoundsFromTenMicrosecondsToAMinute) {
  EXPECT_EQ(LatencyHistogram::kBoundsUs.front(), 10u);
  EXPECT_EQ(LatencyHistogram::kBoundsUs.back(), 60'000'000u);
  EXPECT_TRUE(std::ranges::is_sorted(LatencyHistogram::kBoundsUs));
}

TEST(LatencyHistogram, CountsABatchOfEqualValuesAtOnce) {
  LatencyHistogram histogram;
  histogram.Record(30, 4);
  EXPECT_EQ(histogram.count(), 4u);
  EXPECT_EQ(histogram.sum_us(), 120u);
}

TEST(LatencyHistogram, LosesNothingOfManyThreads) {
  constexpr int kThreads = 4;
  constexpr int kValuesEach = 20'000;
  LatencyHistogram histogram;
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int value = 0; value < kValuesEach; ++value) histogram.Record(value);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(histogram.count(), std::uint64_t{kThreads} * kValuesEach);
  EXPECT_EQ(histogram.sum_us(), std::uint64_t{kThreads} * kValuesEach * (kValuesEach - 1) / 2);
}

}  // namespace
}  // namespace fastserve
