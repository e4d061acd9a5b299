#include "base/clock.h"

#include <gtest/gtest.h>

#include <ctime>

#include "support/fake_clock.h"

namespace fastserve {
namespace {

TEST(SystemClock, NeverGoesBack) {
  std::int64_t last = SystemClock().NowNs();
  for (int i = 0; i < 1000; ++i) {
    const std::int64_t now = SystemClock().NowNs();
    ASSERT_GE(now, last);
    last = now;
  }
}

TEST(SystemClock, TellsTheWallTimeInMilliseconds) {
  const std::int64_t before = std::time(nullptr);
  const std::int64_t wall_ms = SystemClock().WallMs();
  EXPECT_GE(wall_ms, before * 1000);
  EXPECT_LE(wall_ms, (std::time(nullptr) + 2) * 1000);
}

TEST(FakeClock, MovesWhenToldAndTellsItsListeners) {
  FakeClock clock(5);
  std::int64_t heard = 0;
  clock.AddListener([&] { heard = clock.NowNs(); });
  EXPECT_EQ(clock.NowNs(), 5);
  clock.Advance(10);
  EXPECT_EQ(clock.NowNs(), 15);
  EXPECT_EQ(heard, 15);
}

}  // namespace
}  // namespace fastserve
