#include "scheduling/armed_deadlines.h"

#include <gtest/gtest.h>

namespace fastserve {
namespace {

TEST(ArmedDeadlines, ALaterDeadlineNeedsNoCallbackOfItsOwn) {
  ArmedDeadlines armed;
  EXPECT_TRUE(armed.Add(100));
  EXPECT_FALSE(armed.Add(100));
  EXPECT_FALSE(armed.Add(200));
  EXPECT_TRUE(armed.Add(50));
}

// A queue timeout far away, and queue delays that come and go before it.
TEST(ArmedDeadlines, EarlierOnesDoNotMultiplyALaterOne) {
  constexpr std::int64_t kTimeout = 1'000'000;
  ArmedDeadlines armed;
  int scheduled = armed.Add(kTimeout) ? 1 : 0;
  for (std::int64_t delay = 100; delay < kTimeout; delay += 100) {
    EXPECT_TRUE(armed.Add(delay));
    armed.Remove(delay);
    scheduled += armed.Add(kTimeout) ? 1 : 0;
  }
  EXPECT_EQ(scheduled, 1);
  armed.Remove(kTimeout);
  EXPECT_TRUE(armed.Add(kTimeout + 1));
}

TEST(ArmedDeadlines, ACallbackOfNoDeadlineChangesNothing) {
  ArmedDeadlines armed;
  EXPECT_TRUE(armed.Add(100));
  armed.Remove(0);
  EXPECT_FALSE(armed.Add(100));
}

}  // namespace
}  // namespace fastserve
