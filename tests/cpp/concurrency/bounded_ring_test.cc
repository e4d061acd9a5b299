#include "concurrency/bounded_ring.h"

#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "support/random.h"

namespace fastserve {
namespace {

TEST(BoundedRing, RoundsItsCapacityUpToAPowerOfTwo) {
  EXPECT_EQ(BoundedRing<int>(0).capacity(), 2u);
  EXPECT_EQ(BoundedRing<int>(2).capacity(), 2u);
  EXPECT_EQ(BoundedRing<int>(3).capacity(), 4u);
  EXPECT_EQ(BoundedRing<int>(1024).capacity(), 1024u);
}

TEST(BoundedRing, LeavesTheValueUntouchedWhenFull) {
  BoundedRing<std::unique_ptr<int>> ring(2);
  EXPECT_TRUE(ring.TryPush(std::make_unique<int>(1)));
  EXPECT_TRUE(ring.TryPush(std::make_unique<int>(2)));
  auto third = std::make_unique<int>(3);
  EXPECT_FALSE(ring.TryPush(std::move(third)));
  // NOLINTBEGIN(bugprone-use-after-move): that it was not moved from is the promise
  ASSERT_NE(third, nullptr);
  EXPECT_EQ(*third, 3);
  // NOLINTEND(bugprone-use-after-move)
}

TEST(BoundedRing, KeepsNothingOfAPoppedPointerAlive) {
  BoundedRing<std::shared_ptr<int>> ring(2);
  auto value = std::make_shared<int>(7);
  const std::weak_ptr<int> watch = value;
  ASSERT_TRUE(ring.TryPush(std::move(value)));
  std::shared_ptr<int> popped;
  ASSERT_TRUE(ring.TryPop(&popped));
  popped.reset();
  EXPECT_TRUE(watch.expired());
}

TEST(BoundedRing, DestroysWhatIsLeftInIt) {
  std::weak_ptr<int> watch;
  {
    BoundedRing<std::shared_ptr<int>> ring(4);
    auto value = std::make_shared<int>(7);
    watch = value;
    ASSERT_TRUE(ring.TryPush(std::move(value)));
  }
  EXPECT_TRUE(watch.expired());
}

TEST(BoundedRing, BehavesLikeADequeUnderRandomOperations) {
  RepeatableRandom random(42);
  for (const std::size_t capacity : {2u, 4u, 64u}) {
    BoundedRing<int> ring(capacity);
    std::deque<int> reference;
    for (int i = 0; i < 20'000; ++i) {
      if (random.Below(2) == 0) {
        const bool pushed = ring.TryPush(int{i});
        ASSERT_EQ(pushed, reference.size() < capacity);
        if (pushed) reference.push_back(i);
      } else {
        int value = -1;
        ASSERT_EQ(ring.TryPop(&value), !reference.empty());
        if (reference.empty()) continue;
        ASSERT_EQ(value, reference.front());
        reference.pop_front();
      }
      ASSERT_EQ(ring.ApproximateSize(), reference.size());
    }
  }
}

struct Stamped {
  int producer = -1;
  int number = -1;
};

// Every value arrives exactly once, and the values of one producer reach one consumer in order.
TEST(BoundedRing, DeliversEachValueOnceAndInOrderToManyConsumers) {
  constexpr int kProducers = 3;
  constexpr int kConsumers = 3;
  constexpr int kValuesEach = 5'000;
  BoundedRing<std::unique_ptr<Stamped>> ring(16);
  std::atomic<int> left{kProducers * kValuesEach};
  std::vector<std::vector<Stamped>> received(kConsumers);
  std::vector<std::thread> threads;
  threads.reserve(kProducers + kConsumers);
  for (int producer = 0; producer < kProducers; ++producer) {
    threads.emplace_back([&ring, producer] {
      for (int number = 0; number < kValuesEach; ++number) {
        auto value = std::make_unique<Stamped>(Stamped{producer, number});
        while (!ring.TryPush(std::move(value))) std::this_thread::yield();
      }
    });
  }
  for (int consumer = 0; consumer < kConsumers; ++consumer) {
    threads.emplace_back([&ring, &left, &mine = received[consumer]] {
      while (left.load() > 0) {
        std::unique_ptr<Stamped> value;
        if (!ring.TryPop(&value)) {
          std::this_thread::yield();
          continue;
        }
        mine.push_back(*value);
        left.fetch_sub(1);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  std::vector<std::vector<int>> seen(kProducers, std::vector<int>(kValuesEach, 0));
  for (const std::vector<Stamped>& mine : received) {
    std::vector<int> last(kProducers, -1);
    for (const Stamped& value : mine) {
      ++seen[value.producer][value.number];
      ASSERT_GT(value.number, last[value.producer]);
      last[value.producer] = value.number;
    }
  }
  for (const std::vector<int>& times : seen) {
    for (const int time : times) ASSERT_EQ(time, 1);
  }
}

}  // namespace
}  // namespace fastserve
