#include "metrics/sharded_counter.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace fastserve {
namespace {

TEST(ShardedCounter, SumsWhatMoreThreadsThanShardsAdded) {
  constexpr int kThreads = 20;
  constexpr int kAddsEach = 1'000;
  ShardedCounter counter;
  EXPECT_EQ(counter.Value(), 0u);
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int add = 0; add < kAddsEach; ++add) counter.Add(2);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counter.Value(), std::uint64_t{2} * kThreads * kAddsEach);
}

}  // namespace
}  // namespace fastserve
