#include "scheduling/rate_limiter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

namespace fastserve {
namespace {

using testing::HasSubstr;

InstanceGroupSpec Needs(std::vector<ResourceSpec> resources, std::uint32_t priority = 1) {
  InstanceGroupSpec group;
  group.resources = std::move(resources);
  group.rate_limiter_priority = priority;
  return group;
}

std::unique_ptr<ResourceClaim> Register(RateLimiter* limiter, const InstanceGroupSpec& group,
                                        int* reserved = nullptr) {
  auto claim = std::move(limiter->Register(group).value());
  if (reserved != nullptr) claim->set_on_reserved([reserved] { ++*reserved; });
  return claim;
}

TEST(RateLimiter, AResourceIsNeverUsedBeyondItsCount) {
  RateLimiter limiter({{"r", 3}});
  int reserved = 0;
  const auto a = Register(&limiter, Needs({{"R", false, 2}}));
  const auto b = Register(&limiter, Needs({{"R", false, 2}}), &reserved);
  EXPECT_TRUE(a->TryTake());
  EXPECT_FALSE(b->TryTake());
  EXPECT_EQ(reserved, 0);
  a->GiveBack();
  EXPECT_EQ(reserved, 1);
  EXPECT_TRUE(b->TryTake());
}

TEST(RateLimiter, WithoutACountThereIsWhatTheMostDemandingInstanceNeeds) {
  RateLimiter limiter({});
  const auto small = Register(&limiter, Needs({{"r", false, 2}}));
  auto large = Register(&limiter, Needs({{"r", false, 4}}));
  const auto small_too = Register(&limiter, Needs({{"r", false, 2}}));
  EXPECT_TRUE(small->TryTake());
  EXPECT_TRUE(small_too->TryTake()) << "4 in all";
  small_too->GiveBack();
  large.reset();
  EXPECT_FALSE(small_too->TryTake()) << "2 in all once the demanding one is unloaded";
}

TEST(RateLimiter, WhatAnotherModelBringsServesTheLine) {
  RateLimiter limiter({});
  int reserved = 0;
  const auto holding = Register(&limiter, Needs({{"r", false, 2}}));
  const auto waiting = Register(&limiter, Needs({{"r", false, 2}}), &reserved);
  ASSERT_TRUE(holding->TryTake());
  ASSERT_FALSE(waiting->TryTake());
  const auto demanding = Register(&limiter, Needs({{"r", false, 4}}));
  EXPECT_EQ(reserved, 1) << "now there are 4";
  EXPECT_TRUE(waiting->TryTake());
}

TEST(RateLimiter, WhoWaitsForACallLendsWhatItHolds) {
  RateLimiter limiter({{"r", 2}});
  const auto caller = Register(&limiter, Needs({{"r", false, 2}}));
  const auto called = Register(&limiter, Needs({{"r", false, 2}}));
  ASSERT_TRUE(caller->TryTake());
  const auto resources = caller->resources();
  EXPECT_FALSE(called->TryTake());
  resources->Lend();
  EXPECT_TRUE(called->TryTake());
  bool has_them_back = false;
  resources->TakeBack([&] { has_them_back = true; });
  EXPECT_FALSE(has_them_back) << "the called model still runs";
  called->GiveBack();
  EXPECT_TRUE(has_them_back);
  EXPECT_FALSE(called->TryTake());
}

TEST(RateLimiter, TheLastOfSeveralCallsTakesTheResourcesBack) {
  RateLimiter limiter({{"r", 1}});
  const auto caller = Register(&limiter, Needs({{"r", false, 1}}));
  const auto other = Register(&limiter, Needs({{"r", false, 1}}));
  ASSERT_TRUE(caller->TryTake());
  const auto resources = caller->resources();
  resources->Lend();
  resources->Lend();
  int answered = 0;
  resources->TakeBack([&] { ++answered; });
  EXPECT_EQ(answered, 1) << "another call goes on: nothing to wait for";
  EXPECT_TRUE(other->TryTake());
  resources->TakeBack([&] { ++answered; });
  EXPECT_EQ(answered, 1);
  resources->Lend();
  EXPECT_EQ(answered, 2) << "a new call began: nothing to wait for any more";
  other->GiveBack();
  EXPECT_TRUE(other->TryTake()) << "the caller has left the line";
  resources->TakeBack([&] { ++answered; });
  EXPECT_EQ(answered, 2);
  other->GiveBack();
  EXPECT_EQ(answered, 3);
}

TEST(RateLimiter, AnExecutionThatEndsGivesBackWhatItLent) {
  RateLimiter limiter({{"r", 1}});
  const auto caller = Register(&limiter, Needs({{"r", false, 1}}));
  const auto other = Register(&limiter, Needs({{"r", false, 1}}));
  ASSERT_TRUE(caller->TryTake());
  const auto resources = caller->resources();
  resources->Lend();
  ASSERT_TRUE(other->TryTake());
  int answered = 0;
  resources->TakeBack([&] { ++answered; });
  caller->GiveBack();
  EXPECT_EQ(answered, 1) << "it is told, and is not in line any more";
  other->GiveBack();
  ASSERT_TRUE(caller->TryTake()) << "for another execution";
  resources->Lend();
  EXPECT_FALSE(other->TryTake()) << "an old call lends nothing of it";
  resources->TakeBack([&] { ++answered; });
  EXPECT_EQ(answered, 2);
}

TEST(RateLimiter, WhoTakesBackStandsWhereItStoodBefore) {
  RateLimiter limiter({{"r", 1}});
  const auto caller = Register(&limiter, Needs({{"r", false, 1}}));
  const auto called = Register(&limiter, Needs({{"r", false, 1}}));
  const auto late = Register(&limiter, Needs({{"r", false, 1}}));
  ASSERT_TRUE(caller->TryTake());
  const auto resources = caller->resources();
  for (int i = 0; i < 3; ++i) {  // each turn of the called one takes it further back
    resources->Lend();
    ASSERT_TRUE(called->TryTake());
    bool has_them_back = false;
    resources->TakeBack([&] { has_them_back = true; });
    ASSERT_FALSE(late->TryTake());
    called->GiveBack();
    EXPECT_TRUE(has_them_back) << "before the one that came later";
    late->Withdraw();
  }
}

TEST(RateLimiter, NobodyOvertakesTheFirstInLine) {
  RateLimiter limiter({{"r", 4}});
  const auto running = Register(&limiter, Needs({{"r", false, 2}}));
  const auto large = Register(&limiter, Needs({{"r", false, 4}}));
  const auto small = Register(&limiter, Needs({{"r", false, 1}}));
  EXPECT_TRUE(running->TryTake());
  EXPECT_FALSE(large->TryTake());
  EXPECT_FALSE(small->TryTake()) << "it would fit, but then the large one might starve";
  running->GiveBack();
  EXPECT_TRUE(large->TryTake());
  EXPECT_FALSE(small->TryTake());
  large->GiveBack();
  EXPECT_TRUE(small->TryTake());
}

TEST(RateLimiter, WhoWithdrawsLetsTheNextOneIn) {
  RateLimiter limiter({{"r", 1}});
  int reserved = 0;
  const auto a = Register(&limiter, Needs({{"r", false, 1}}));
  const auto b = Register(&limiter, Needs({{"r", false, 1}}));
  auto c = Register(&limiter, Needs({{"r", false, 1}}), &reserved);
  EXPECT_TRUE(a->TryTake());
  EXPECT_FALSE(b->TryTake());
  EXPECT_FALSE(c->TryTake());
  a->GiveBack();
  EXPECT_EQ(reserved, 0) << "b has the reservation";
  b->Withdraw();
  EXPECT_EQ(reserved, 1);
  c.reset();
  EXPECT_TRUE(a->TryTake()) << "a destroyed claim gives its reservation back";
}

TEST(RateLimiter, PriorityTwoGetsHalfOfTheTurns) {
  RateLimiter limiter({{"r", 1}});
  std::vector<std::unique_ptr<ResourceClaim>> claims;  // two of each priority, all always busy
  for (const std::uint32_t priority : {1U, 1U, 2U, 2U})
    claims.push_back(Register(&limiter, Needs({{"r", false, 1}}, priority)));
  int turns[2] = {0, 0};
  for (int i = 0; i < 600; ++i) {
    std::size_t running = claims.size();
    for (std::size_t c = 0; c < claims.size(); ++c) {
      if (claims[c]->TryTake()) running = c;
    }
    ASSERT_LT(running, claims.size());
    ++turns[running / 2];
    claims[running]->GiveBack();
  }
  EXPECT_NEAR(turns[0], 2 * turns[1], 10);
}

TEST(RateLimiter, AnInstanceThatCouldNeverRunIsRefused) {
  RateLimiter limiter({{"r", 2}});
  const auto refused = limiter.Register(Needs({{"R", false, 3}}));
  EXPECT_EQ(refused.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(refused.status().message(), HasSubstr("Resource count for \"R\" is limited to 2"));
  EXPECT_THAT(refused.status().message(), HasSubstr("minimum required count is 3"));
}

TEST(RateLimiter, AResourceIsGlobalOrADevicesButNotBoth) {
  RateLimiter limiter({});
  auto global = Register(&limiter, Needs({{"r", true, 1}}));
  EXPECT_THAT(limiter.Register(Needs({{"R", false, 1}})).status().message(),
              HasSubstr("both global and device-specific"));
  global.reset();
  EXPECT_TRUE(limiter.Register(Needs({{"R", false, 1}})).ok()) << "nobody uses it as global now";
  EXPECT_THAT(limiter.Register(Needs({{"x", false, 1}, {"X", false, 1}})).status().message(),
              HasSubstr("listed twice"));
}

// No deadlock: threads whose claims overlap in every way all make progress, and the counts hold.
TEST(RateLimiter, ManyThreadsWithOverlappingNeedsAllFinish) {
  constexpr int kThreads = 6;
  constexpr int kTurns = 2000;
  RateLimiter limiter({{"a", 3}, {"b", 2}});
  std::atomic<int> used_a{0};
  std::atomic<int> used_b{0};
  std::vector<std::thread> threads;
  for (std::uint32_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const int a = static_cast<int>(t % 4);
      const int b = static_cast<int>(t % 3);
      std::atomic<int> reserved{0};
      auto claim = std::move(limiter
                                 .Register(Needs({{"a", true, static_cast<std::uint32_t>(a)},
                                                  {"b", true, static_cast<std::uint32_t>(b)}}))
                                 .value());
      claim->set_on_reserved([&reserved] {
        reserved.fetch_add(1);
        reserved.notify_one();
      });
      for (int i = 0; i < kTurns; ++i) {
        int seen = reserved.load();
        while (!claim->TryTake()) {
          reserved.wait(seen);
          seen = reserved.load();
        }
        EXPECT_LE(used_a.fetch_add(a) + a, 3);
        EXPECT_LE(used_b.fetch_add(b) + b, 2);
        used_a.fetch_sub(a);
        used_b.fetch_sub(b);
        claim->GiveBack();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace fastserve
