#include "cache/redis_cache.h"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <optional>
#include <sstream>
#include <thread>

#include "base/log.h"
#include "cache_test_support.h"
#include "redis_process.h"
#include "support/fake_clock.h"

namespace fastserve {
namespace {

class Outcome final : public LookupObserver {
 public:
  void OnLookup(CachedResponse response) override {
    const std::lock_guard lock(mutex_);
    response_ = std::move(response);
    told_.notify_all();
  }
  // Blocks until the outcome is there; null: nothing was found.
  CachedResponse Await() {
    std::unique_lock lock(mutex_);
    told_.wait(lock, [this] { return response_.has_value(); });
    return *response_;
  }
  bool told() {
    const std::lock_guard lock(mutex_);
    return response_.has_value();
  }

 private:
  std::mutex mutex_;
  std::condition_variable told_;
  std::optional<CachedResponse> response_;
};

RedisOptions OptionsOf(const RedisProcess& redis) {
  RedisOptions options;
  options.host = "127.0.0.1";
  options.port = redis.port();
  options.deadline_ms = 60'000;  // the tests of deadlines have shorter ones
  return options;
}

// How many connections the server has seen, the test's own included.
std::string ConnectionsOf(RedisProcess* redis) {
  // It has accepted what connected before the first question when it answers the second one.
  redis->Ask({"PING"});
  const std::string text = redis->Ask({"INFO", "stats"});
  const std::size_t begin = text.find("total_connections_received:");
  return text.substr(begin, text.find('\r', begin) - begin);
}

void AwaitConnected(const RedisCache& cache, bool connected = true) {
  while (cache.connected() != connected) std::this_thread::yield();
}

// Nothing found, or no lookup at all, is null.
CachedResponse LookUp(RedisCache* cache, const RequestKey& key) {
  const auto outcome = std::make_shared<Outcome>();
  return cache->StartLookup(key, outcome) ? outcome->Await() : nullptr;
}

TEST(RedisCacheTest, FindsWhatAnotherServerInserted) {
  RedisProcess redis;
  RedisCache one(OptionsOf(redis), SystemClock());
  RedisCache other(OptionsOf(redis), SystemClock());
  AwaitConnected(one);
  AwaitConnected(other);
  EXPECT_EQ(LookUp(&other, KeyNumber(1)), nullptr);
  one.Insert(KeyNumber(1), ResponseOf({1, 2}));
  ASSERT_NE(LookUp(&one, KeyNumber(1)), nullptr);  // after the insertion on the same connection
  const CachedResponse found = LookUp(&other, KeyNumber(1));
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(FloatsOf(found->outputs[0]), (std::vector<float>{1, 2}));
  EXPECT_EQ(LookUp(&other, KeyNumber(2)), nullptr);
}

TEST(RedisCacheTest, ManyThreadsGetTheirOwnAnswers) {
  RedisProcess redis;
  RedisCache cache(OptionsOf(redis), SystemClock());
  AwaitConnected(cache);
  std::vector<std::thread> threads;
  for (std::uint64_t first = 0; first < 4; ++first) {
    threads.emplace_back([&cache, first] {
      for (std::uint64_t i = 0; i < 200; ++i) {
        const std::uint64_t number = first * 1000 + i;
        cache.Insert(KeyNumber(number), ResponseOf({static_cast<float>(number)}));
        const CachedResponse found = LookUp(&cache, KeyNumber(number));
        ASSERT_NE(found, nullptr);
        EXPECT_EQ(FloatsOf(found->outputs[0])[0], static_cast<float>(number));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(RedisCacheTest, ValueThatIsNoResponseIsNotFound) {
  RedisProcess redis;
  RedisCache cache(OptionsOf(redis), SystemClock());
  AwaitConnected(cache);
  const std::string name = RedisCache::NameOf(KeyNumber(1));
  for (const std::string& value : {std::string(), std::string("FSR1"), std::string(1000, '\xff')}) {
    EXPECT_EQ(redis.Ask({"SET", name, value}), "OK");
    EXPECT_EQ(LookUp(&cache, KeyNumber(1)), nullptr);
  }
  redis.Ask({"DEL", name});
  redis.Ask({"LPUSH", name, "a list"});
  EXPECT_EQ(LookUp(&cache, KeyNumber(1)), nullptr);
  EXPECT_TRUE(cache.connected());
}

TEST(RedisCacheTest, KilledServerMeansNothingFoundUntilItIsBack) {
  RedisProcess redis;
  RedisCache cache(OptionsOf(redis), SystemClock());
  AwaitConnected(cache);
  cache.Insert(KeyNumber(1), ResponseOf({1}));
  ASSERT_NE(LookUp(&cache, KeyNumber(1)), nullptr);
  redis.Kill();
  AwaitConnected(cache, false);
  const auto outcome = std::make_shared<Outcome>();
  EXPECT_FALSE(cache.StartLookup(KeyNumber(1), outcome));
  EXPECT_FALSE(outcome->told());
  cache.Insert(KeyNumber(2), ResponseOf({2}));  // goes nowhere, and waits for nothing
  redis.Start();
  AwaitConnected(cache);
  EXPECT_EQ(LookUp(&cache, KeyNumber(1)), nullptr);
  cache.Insert(KeyNumber(1), ResponseOf({3}));
  EXPECT_NE(LookUp(&cache, KeyNumber(1)), nullptr);
}

TEST(RedisCacheTest, ResponseThatTakesTooLongToSendIsNotKept) {
  RedisProcess redis;
  const FakeClock clock;  // no deadline passes
  RedisOptions options = OptionsOf(redis);
  options.deadline_ms = 100;  // 4 MiB
  RedisCache cache(options, clock);
  AwaitConnected(cache);
  cache.Insert(KeyNumber(1), ResponseOf(std::vector<float>((4 << 20) / sizeof(float))));
  cache.Insert(KeyNumber(2), ResponseOf(std::vector<float>((2 << 20) / sizeof(float))));
  EXPECT_NE(LookUp(&cache, KeyNumber(2)), nullptr);
  EXPECT_EQ(LookUp(&cache, KeyNumber(1)), nullptr);
  EXPECT_TRUE(cache.connected());
}

TEST(RedisCacheTest, PasswordUserAndDatabaseAreUsed) {
  RedisProcess redis({"--requirepass", "secret"});
  redis.Ask({"AUTH", "secret"});
  redis.Ask({"ACL", "SETUSER", "worker", "on", ">word", "~*", "+@all"});
  RedisOptions options = OptionsOf(redis);
  options.password = "secret";
  options.db = 3;
  RedisCache by_password(options, SystemClock());
  AwaitConnected(by_password);
  by_password.Insert(KeyNumber(1), ResponseOf({1}));
  EXPECT_NE(LookUp(&by_password, KeyNumber(1)), nullptr);
  EXPECT_EQ(redis.Ask({"EXISTS", RedisCache::NameOf(KeyNumber(1))}), "0");  // in database 0
  redis.Ask({"SELECT", "3"});
  EXPECT_EQ(redis.Ask({"EXISTS", RedisCache::NameOf(KeyNumber(1))}), "1");
  options.user = "worker";
  options.password = "word";
  RedisCache by_user(options, SystemClock());
  AwaitConnected(by_user);
  EXPECT_NE(LookUp(&by_user, KeyNumber(1)), nullptr);
}

// Counts how often it is read: the cache's thread reads it several times a round.
class WatchedClock final : public Clock {
 public:
  std::int64_t NowNs() const override {
    ++reads_;
    return clock_.NowNs();
  }
  std::int64_t WallMs() const override { return clock_.WallMs(); }
  void Advance(std::int64_t ns) { clock_.Advance(ns); }
  // Until the thread has gone through rounds that began after the call.
  void AwaitRounds(RedisCache* cache) const {
    for (const int begin = reads_; reads_ < begin + 20;) {
      cache->Poke();
      std::this_thread::yield();
    }
  }

 private:
  FakeClock clock_;
  mutable std::atomic<int> reads_{0};
};

class RedisFakeClockTest : public ::testing::Test {
 protected:
  // Moves time on until the cache is (or is not) connected.
  void AdvanceUntilConnected(RedisCache* cache) {
    while (!cache->connected()) {
      clock_.Advance(ReconnectDelay::kShortestNs);
      cache->Poke();
      std::this_thread::yield();
    }
  }
  // Connecting takes as long as it takes, whatever the clock says.
  RedisOptions PatientOptions() {
    RedisOptions options = OptionsOf(redis_);
    options.connect_timeout_ms = 1'000'000'000;
    return options;
  }

  FakeClock clock_;
  RedisProcess redis_;
};

TEST_F(RedisFakeClockTest, LateAnswerIsAMissAndEndsTheConnection) {
  RedisOptions options = PatientOptions();
  options.deadline_ms = 100;
  RedisCache cache(options, clock_);
  AdvanceUntilConnected(&cache);
  redis_.Signal(SIGSTOP);
  const auto first = std::make_shared<Outcome>();
  const auto second = std::make_shared<Outcome>();
  ASSERT_TRUE(cache.StartLookup(KeyNumber(1), first));
  clock_.Advance(99'000'000);
  cache.Poke();
  ASSERT_TRUE(cache.StartLookup(KeyNumber(2), second));
  EXPECT_FALSE(first->told());
  clock_.Advance(1'000'000);
  cache.Poke();
  EXPECT_EQ(first->Await(), nullptr);
  EXPECT_EQ(second->Await(), nullptr);  // behind it: does not wait for its own deadline
  EXPECT_FALSE(cache.connected());
  redis_.Signal(SIGCONT);
  AdvanceUntilConnected(&cache);
}

TEST(RedisBackOffTest, ServerThatAnswersTooLateIsConnectedToLessAndLessOften) {
  RedisProcess redis;
  WatchedClock clock;
  RedisOptions options = OptionsOf(redis);
  options.connect_timeout_ms = 1'000'000'000;
  options.deadline_ms = 100;
  RedisCache cache(options, clock);
  AwaitConnected(cache);
  const auto lose = [&] {
    redis.Signal(SIGSTOP);
    const auto outcome = std::make_shared<Outcome>();
    ASSERT_TRUE(cache.StartLookup(KeyNumber(1), outcome));
    clock.Advance(100'000'000);
    cache.Poke();
    EXPECT_EQ(outcome->Await(), nullptr);
    redis.Signal(SIGCONT);
  };
  // Whether the cache connects again after so long.
  const auto connects_after = [&](std::int64_t ns) {
    const std::string before = ConnectionsOf(&redis);
    clock.Advance(ns);
    clock.AwaitRounds(&cache);
    return ConnectionsOf(&redis) != before;
  };
  lose();
  EXPECT_TRUE(connects_after(ReconnectDelay::kShortestNs));
  AwaitConnected(cache);
  lose();
  EXPECT_FALSE(connects_after(ReconnectDelay::kShortestNs));
  EXPECT_TRUE(connects_after(ReconnectDelay::kShortestNs));
  AwaitConnected(cache);
  EXPECT_EQ(LookUp(&cache, KeyNumber(1)), nullptr);  // answered in time
  lose();
  EXPECT_TRUE(connects_after(ReconnectDelay::kShortestNs));
}

TEST_F(RedisFakeClockTest, StopEndsLookupsUnderWay) {
  RedisCache cache(PatientOptions(), clock_);
  AdvanceUntilConnected(&cache);
  redis_.Signal(SIGSTOP);
  const auto outcome = std::make_shared<Outcome>();
  ASSERT_TRUE(cache.StartLookup(KeyNumber(1), outcome));
  cache.Stop();
  EXPECT_TRUE(outcome->told());
  EXPECT_EQ(outcome->Await(), nullptr);
  EXPECT_FALSE(cache.StartLookup(KeyNumber(1), outcome));
}

std::size_t CountLines(const std::filesystem::path& path, const std::string& text) {
  std::ifstream file(path);
  std::size_t count = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.find(text) != std::string::npos) ++count;
  }
  return count;
}

TEST(RedisCacheTest, OneLineIsLoggedPerChangeOfState) {
  const std::filesystem::path log =
      std::filesystem::temp_directory_path() / ("redis_cache_test." + std::to_string(getpid()));
  ASSERT_TRUE(SetLogFile(log.string()).ok());
  {
    FakeClock clock;
    RedisOptions options;
    options.host = "127.0.0.1";
    options.port = FreePort();  // nobody listens there
    options.password = "a secret";
    RedisCache cache(options, clock);
    // Many attempts, and one line: the first is logged before the clock moves.
    while (CountLines(log, "no connection to Redis") == 0) std::this_thread::yield();
    for (int i = 0; i < 100; ++i) {
      clock.Advance(ReconnectDelay::kLongestNs);
      cache.Poke();
      std::this_thread::yield();
    }
  }
  ASSERT_TRUE(SetLogFile("").ok());
  EXPECT_EQ(CountLines(log, "no connection to Redis"), 1U);
  EXPECT_EQ(CountLines(log, "a secret"), 0U);
  std::filesystem::remove(log);
}

TEST(ReconnectDelayTest, DoublesUpToTheLongestAndStartsAgain) {
  ReconnectDelay delay;
  EXPECT_EQ(delay.Next(), ReconnectDelay::kShortestNs);
  EXPECT_EQ(delay.Next(), 2 * ReconnectDelay::kShortestNs);
  for (int i = 0; i < 10; ++i) delay.Next();
  EXPECT_EQ(delay.Next(), ReconnectDelay::kLongestNs);
  delay.Reset();
  EXPECT_EQ(delay.Next(), ReconnectDelay::kShortestNs);
}

TEST(RedisCacheTest, NamesCarryTheWholeKey) {
  EXPECT_EQ(RedisCache::NameOf({{1, 2, 3, 0xabcdef}}),
            "fastserve:1:0000000000000001000000000000000200000000000000030000000000abcdef");
}

}  // namespace
}  // namespace fastserve
