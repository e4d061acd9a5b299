#include "cache/local_cache.h"

#include <gtest/gtest.h>

#include <atomic>
#include <list>
#include <thread>

#include "cache_test_support.h"
#include "support/random.h"

namespace fastserve {
namespace {

std::size_t EntryBytesOf(std::size_t floats) {
  return LocalCache::EntryBytes(*CopyResponse(ResponseOf(std::vector<float>(floats))));
}

TEST(LocalCacheTest, FindsWhatWasInserted) {
  LocalCache cache(1 << 20);
  EXPECT_EQ(cache.Find(KeyNumber(1)), nullptr);
  cache.Insert(KeyNumber(1), ResponseOf({1, 2}));
  const CachedResponse found = cache.Find(KeyNumber(1));
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(FloatsOf(found->outputs[0]), (std::vector<float>{1, 2}));
  EXPECT_EQ(cache.Find(KeyNumber(2)), nullptr);
}

TEST(LocalCacheTest, ResponseLargerThanTheCacheEvictsNothing) {
  LocalCache cache(EntryBytesOf(4));
  cache.Insert(KeyNumber(1), ResponseOf(std::vector<float>(4)));
  for (const std::size_t floats : {17, 100'000}) {
    cache.Insert(KeyNumber(2), ResponseOf(std::vector<float>(floats)));
    EXPECT_EQ(cache.Find(KeyNumber(2)), nullptr);
  }
  EXPECT_NE(cache.Find(KeyNumber(1)), nullptr);
}

TEST(LocalCacheTest, AnEntryThatFillsTheCacheExactlyIsKept) {
  const std::size_t bytes = EntryBytesOf(4);
  LocalCache exact(bytes);
  exact.Insert(KeyNumber(1), ResponseOf(std::vector<float>(4)));
  EXPECT_EQ(exact.used_bytes(), bytes);
  LocalCache one_less(bytes - 1);
  one_less.Insert(KeyNumber(1), ResponseOf(std::vector<float>(4)));
  EXPECT_EQ(one_less.used_bytes(), 0U);
  EXPECT_EQ(one_less.entry_count(), 0U);
}

TEST(LocalCacheTest, ReplacingAnEntryCountsItOnce) {
  LocalCache cache(EntryBytesOf(4));
  for (float value = 0; value < 3; ++value) cache.Insert(KeyNumber(1), ResponseOf({value}));
  EXPECT_EQ(cache.entry_count(), 1U);
  EXPECT_EQ(FloatsOf(cache.Find(KeyNumber(1))->outputs[0]), std::vector<float>{2});
}

TEST(LocalCacheTest, EvictedResponsesOutliveTheirEntries) {
  LocalCache cache(EntryBytesOf(1));
  cache.Insert(KeyNumber(1), ResponseOf({1}));
  const CachedResponse held = cache.Find(KeyNumber(1));
  cache.Insert(KeyNumber(2), ResponseOf({2}));
  EXPECT_EQ(cache.Find(KeyNumber(1)), nullptr);
  EXPECT_EQ(FloatsOf(held->outputs[0]), std::vector<float>{1});
}

TEST(LocalCacheTest, CachesDoNotShareTheirSecret) {
  const RequestPtr request = MakeRequest("a", nullptr);
  EXPECT_NE(LocalCache(1).KeyOf({}, *request), LocalCache(1).KeyOf({}, *request));
}

// The reference: a list in the order of use, and a sum.
class ReferenceCache {
 public:
  explicit ReferenceCache(std::size_t capacity) : capacity_(capacity) {}

  bool Find(std::uint64_t key) {
    const auto entry = Position(key);
    if (entry == entries_.end()) return false;
    entries_.splice(entries_.begin(), entries_, entry);
    return true;
  }
  void Insert(std::uint64_t key, std::size_t bytes) {
    if (bytes > capacity_) return;
    if (const auto entry = Position(key); entry != entries_.end()) entries_.erase(entry);
    while (used() + bytes > capacity_) entries_.pop_back();
    entries_.emplace_front(key, bytes);
  }
  std::size_t used() const {
    std::size_t sum = 0;
    for (const auto& [unused, bytes] : entries_) sum += bytes;
    return sum;
  }
  std::size_t count() const { return entries_.size(); }

 private:
  std::list<std::pair<std::uint64_t, std::size_t>>::iterator Position(std::uint64_t key) {
    return std::find_if(entries_.begin(), entries_.end(),
                        [key](const auto& entry) { return entry.first == key; });
  }

  const std::size_t capacity_;
  std::list<std::pair<std::uint64_t, std::size_t>> entries_;
};

TEST(LocalCacheTest, EvictsTheLeastRecentlyUsedAndCountsEveryByte) {
  RepeatableRandom random(7);
  for (const std::size_t capacity : {EntryBytesOf(1), 3'000UL, 20'000UL, 200'000UL}) {
    LocalCache cache(capacity);
    ReferenceCache reference(capacity);
    for (int step = 0; step < 5'000; ++step) {
      const auto number = static_cast<std::uint64_t>(random.Below(100));
      if (random.Below(2) == 0) {
        ASSERT_EQ(cache.Find(KeyNumber(number)) != nullptr, reference.Find(number)) << step;
      } else {
        const auto floats =
            static_cast<std::size_t>(random.Below(random.Below(20) == 0 ? 2000 : 40));
        cache.Insert(KeyNumber(number), ResponseOf(std::vector<float>(floats)));
        reference.Insert(number, EntryBytesOf(floats));
      }
      ASSERT_EQ(cache.used_bytes(), reference.used()) << step;
      ASSERT_EQ(cache.entry_count(), reference.count()) << step;
    }
  }
}

TEST(LocalCacheTest, ManyThreadsNeverExceedTheCapacityAndLoseNoByte) {
  const std::size_t entry_bytes = EntryBytesOf(1);
  LocalCache cache(10 * entry_bytes);
  std::atomic<bool> exceeded{false};
  std::atomic<bool> mixed_up{false};
  std::vector<std::thread> threads;
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    threads.emplace_back([&, seed] {
      RepeatableRandom random(seed);
      for (int step = 0; step < 3'000; ++step) {
        const auto number = static_cast<std::uint64_t>(random.Below(30));
        if (const CachedResponse found = cache.Find(KeyNumber(number))) {
          if (FloatsOf(found->outputs[0])[0] != static_cast<float>(number)) mixed_up = true;
        } else {
          cache.Insert(KeyNumber(number), ResponseOf({static_cast<float>(number)}));
        }
        if (cache.used_bytes() > cache.capacity_bytes()) exceeded = true;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(exceeded);
  EXPECT_FALSE(mixed_up);
  EXPECT_EQ(cache.used_bytes(), cache.entry_count() * entry_bytes);
}

TEST(LocalCacheTest, ConcurrentInsertionOfOneKeyKeepsOneEntry) {
  LocalCache cache(1 << 20);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&cache] {
      for (int step = 0; step < 1'000; ++step) cache.Insert(KeyNumber(1), ResponseOf({1}));
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(cache.entry_count(), 1U);
  EXPECT_EQ(cache.used_bytes(), EntryBytesOf(1));
}

}  // namespace
}  // namespace fastserve
