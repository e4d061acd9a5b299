#include "backend/worker/restart_backoff.h"

#include <gtest/gtest.h>

namespace fastserve {
namespace {

constexpr std::int64_t kMs = 1'000'000;

TEST(RestartBackoff, DoublesUpToItsLimit) {
  RestartBackoff backoff{WorkerTimes{}};
  std::int64_t expected_ms = 100;
  for (int start = 0; start < 9; ++start, expected_ms *= 2)
    EXPECT_EQ(backoff.Take(), std::min<std::int64_t>(expected_ms, 30'000) * kMs) << start;
  EXPECT_EQ(backoff.Take(), 30'000 * kMs);
}

TEST(RestartBackoff, BeginsAnewAfterALongLifeOnly) {
  RestartBackoff backoff{WorkerTimes{}};
  backoff.Take();
  backoff.OnDeath(9'999 * kMs, /*answered=*/false);
  EXPECT_EQ(backoff.Take(), 200 * kMs);
  backoff.OnDeath(10'000 * kMs, /*answered=*/false);
  EXPECT_EQ(backoff.Take(), 100 * kMs);
}

TEST(RestartBackoff, BeginsAnewAfterALifeThatAnswered) {
  RestartBackoff backoff{WorkerTimes{}};
  backoff.Take();
  backoff.Take();
  backoff.OnDeath(1 * kMs, /*answered=*/true);
  EXPECT_EQ(backoff.Take(), 100 * kMs);
  EXPECT_EQ(backoff.Take(), 200 * kMs);
}

}  // namespace
}  // namespace fastserve
