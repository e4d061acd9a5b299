// Intended send times do not depend on when anybody asks.
#include "perf/send_schedule.h"

#include <gtest/gtest.h>

#include <cmath>

namespace fastserve::perf {
namespace {

TEST(SendSchedule, AConstantRateHasEqualIntervals) {
  SendSchedule schedule(Arrival::kConstantRate, 1000, 1);
  schedule.Start(5000);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(schedule.NextNs(999999999), 5000 + i * 1000000);
    schedule.Advance();
  }
}

TEST(SendSchedule, AnOddRateDoesNotDrift) {
  SendSchedule schedule(Arrival::kConstantRate, 30000, 1);
  schedule.Start(0);
  for (int i = 0; i < 30000 * 60; ++i) schedule.Advance();
  EXPECT_NEAR(static_cast<double>(schedule.NextNs(0)), 60e9, 1000);
}

TEST(SendSchedule, PoissonIntervalsHaveTheirMeanAndSpread) {
  SendSchedule schedule(Arrival::kPoissonRate, 1000, 7);
  schedule.Start(0);
  constexpr int kCount = 100000;
  double squares = 0;
  std::int64_t last = 0;
  for (int i = 0; i < kCount; ++i) {
    schedule.Advance();
    const double interval = static_cast<double>(schedule.NextNs(0) - last) - 1e6;
    squares += interval * interval;
    last = schedule.NextNs(0);
  }
  EXPECT_NEAR(static_cast<double>(last) / kCount, 1e6, 1e4);
  EXPECT_NEAR(std::sqrt(squares / kCount), 1e6,
              3e4);  // the deviation of an exponential is its mean
}

TEST(SendSchedule, TheSameSeedGivesTheSameTimes) {
  SendSchedule one(Arrival::kPoissonRate, 500, 3);
  SendSchedule two(Arrival::kPoissonRate, 500, 3);
  for (int i = 0; i < 100; ++i) {
    one.Advance();
    two.Advance();
    ASSERT_EQ(one.NextNs(0), two.NextNs(0));
  }
}

TEST(SendSchedule, OverdueCountsWhatShouldHaveBeenSent) {
  SendSchedule schedule(Arrival::kConstantRate, 1000, 1);
  schedule.Start(0);
  EXPECT_EQ(schedule.Overdue(0, -1), 0);
  EXPECT_EQ(schedule.Overdue(0, 0), 1);
  EXPECT_EQ(schedule.Overdue(0, 10'000'000), 11);
  EXPECT_EQ(schedule.Overdue(1'000'000, 10'000'000), 10);
  EXPECT_EQ(schedule.Overdue(kNever, 10'000'000), 0);
}

TEST(SendSchedule, AClosedLoopIsAlwaysDue) {
  SendSchedule schedule(Arrival::kClosedLoop, 0, 1);
  schedule.Start(0);
  EXPECT_EQ(schedule.NextNs(123), 123);
  schedule.Advance();
  EXPECT_EQ(schedule.NextNs(456), 456);
  EXPECT_EQ(schedule.Overdue(0, 456), 0);
}

}  // namespace
}  // namespace fastserve::perf
