#include "memory/byte_budget.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace fastserve {
namespace {

TEST(ByteBudget, RefusesWhatDoesNotFitAndTakesNothingOfIt) {
  ByteBudget budget(100);
  EXPECT_TRUE(budget.TryTake(60));
  EXPECT_FALSE(budget.TryTake(41));
  EXPECT_EQ(budget.used_bytes(), 60u);
  EXPECT_TRUE(budget.TryTake(40));
  budget.GiveBack(100);
  EXPECT_EQ(budget.used_bytes(), 0u);
}

TEST(ByteBudget, IsNeverExceededByManyThreads) {
  ByteBudget budget(8);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&budget] {
      for (int round = 0; round < 5'000; ++round) {
        ByteClaim ours(std::shared_ptr<ByteBudget>(std::shared_ptr<void>(), &budget));
        // Two of four threads' claims fit at a time.
        if (ours.Add(4, 4).ok()) EXPECT_GE(budget.used_bytes(), 4u);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(budget.used_bytes(), 0u);
}

TEST(ByteClaim, GivesBackWhatItAddedAndNoMore) {
  const auto budget = std::make_shared<ByteBudget>(100);
  {
    ByteClaim claim(budget);
    EXPECT_TRUE(claim.Add(10, 50).ok());
    EXPECT_TRUE(claim.Add(20, 50).ok());
    EXPECT_EQ(budget->used_bytes(), 30u);
    const Status refusal = claim.Add(71, 123);
    EXPECT_EQ(refusal.code(), StatusCode::kUnavailable);
    EXPECT_EQ(refusal.message(),
              "request of 123 bytes: 30 of 100 bytes are in flight (--max-inflight-bytes)");
    EXPECT_EQ(budget->used_bytes(), 30u);
    claim.Release();
    EXPECT_EQ(budget->used_bytes(), 0u);
    EXPECT_TRUE(claim.Add(5, 5).ok());
  }
  EXPECT_EQ(budget->used_bytes(), 0u);
}

TEST(ByteClaim, MovesItsBytesAndCanBeAddedToAgain) {
  const auto budget = std::make_shared<ByteBudget>(100);
  ByteClaim first(budget);
  EXPECT_TRUE(first.Add(10, 10).ok());
  ByteClaim second(std::move(first));
  EXPECT_TRUE(first.Add(1, 1).ok());  // NOLINT(bugprone-use-after-move): as promised
  EXPECT_EQ(budget->used_bytes(), 11u);
  second = std::move(first);
  EXPECT_EQ(budget->used_bytes(), 1u);
  second.Release();
  EXPECT_EQ(budget->used_bytes(), 0u);
}

TEST(ByteClaim, WithoutABudgetEverythingFits) { EXPECT_TRUE(ByteClaim().Add(UINT64_MAX, 1).ok()); }

}  // namespace
}  // namespace fastserve
