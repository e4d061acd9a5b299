// The response cache in a Redis server that machines share (--cache-config redis,host=...).
//
//   I/O thread: StartLookup -> queue -> redis thread: GET ... reply or deadline -> OnLookup
//   any thread: Insert (serialised here) -> queue -> redis thread: SET
//
// One thread with one pipelined connection: a thread per connection with blocking calls would
// answer one lookup per round trip.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "cache/cache_options.h"
#include "cache/redis_connection.h"
#include "cache/response_cache.h"
#include "concurrency/worker_thread.h"

namespace fastserve {

// How long to wait before the next attempt to connect: doubling from the shortest to the longest.
class ReconnectDelay {
 public:
  static constexpr std::int64_t kShortestNs = 100'000'000;
  static constexpr std::int64_t kLongestNs = 5'000'000'000;

  std::int64_t Next() {
    const std::int64_t delay_ns = next_ns_;
    next_ns_ = next_ns_ < kLongestNs / 2 ? next_ns_ * 2 : kLongestNs;
    return delay_ns;
  }
  void Reset() { next_ns_ = kShortestNs; }

 private:
  std::int64_t next_ns_ = kShortestNs;
};

// Thread safe. Fails open: without a connection, with too much under way, and for an answer later
// than the deadline or that cannot be parsed, nothing is found and nothing is kept.
// Invariants: 1. every started lookup is told its outcome once, at the deadline at the latest; 2. a
// connection whose oldest command passed its deadline is closed, so that the requests behind it do
// not wait too; 3. a line is logged when the connection is there, and when it is there no more, not
// for attempts in between; 4. the insertions that wait can be sent within the deadline at 40 MB/s,
// so that they end no connection.
class RedisCache final : public ResponseCache, private RedisConnection::Listener {
 public:
  // Starts the thread, which connects. `clock` outlives the cache.
  RedisCache(RedisOptions options, const Clock& clock);
  ~RedisCache() override;

  RequestKey KeyOf(const CacheScope& scope, const InferRequest& request) const override;
  CachedResponse Find(const RequestKey& /*key*/) override { return nullptr; }
  bool StartLookup(const RequestKey& key, const std::shared_ptr<LookupObserver>& observer) override;
  void Insert(const RequestKey& key, const InferResponse& response) override;
  void Stop() override;

  bool connected() const;
  // Looks at the clock again: a clock that does not follow real time has moved on.
  void Poke();

  // The key's name in Redis.
  static std::string NameOf(const RequestKey& key);

 private:
  // A lookup (with an observer) or an insertion (with a value).
  struct Command {
    RequestKey key;
    std::shared_ptr<LookupObserver> observer;
    std::string value;
    std::int64_t deadline_ns = 0;
  };

  // The most bytes of insertions that may wait.
  std::size_t most_value_bytes() const;
  // False when there is no connection, or too much waits for it.
  bool Enqueue(Command command);
  void Loop();
  void WaitForEvents();
  std::int64_t NextDeadlineNs() const;
  void ConnectWhenDue();
  void SendQueued();
  void DropLate();
  // Ends the connection; from the first moment on nothing more is sent to it.
  void Disconnect(const std::string& reason);
  void Finish(const Command& command, CachedResponse response);
  bool stopping() const;

  void OnReady() override;
  void OnLost(const std::string& reason) override;
  void OnAnswer(std::optional<std::span<const std::byte>> value, std::string_view error) override;

  const RedisOptions options_;
  const Clock& clock_;
  const int epoll_;
  const int wake_;  // eventfd

  mutable Mutex mutex_;
  bool connected_ GUARDED_BY(mutex_) = false;
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::vector<Command> queued_ GUARDED_BY(mutex_);
  std::size_t waiting_commands_ GUARDED_BY(mutex_) = 0;  // queued or sent
  std::size_t waiting_bytes_ GUARDED_BY(mutex_) = 0;     // values of these

  // The redis thread's own.
  RedisConnection connection_;
  std::deque<Command> sent_;  // oldest first, as Redis answers
  ReconnectDelay reconnect_delay_;
  std::int64_t connect_at_ns_ = 0;     // the next attempt, while there is no connection
  std::int64_t connect_until_ns_ = 0;  // the end of this attempt; 0 = connected
  bool reported_lost_ = false;         // the last line logged says so
  bool reported_error_ = false;        // one line per connection for refused commands

  WorkerThread thread_;
};

}  // namespace fastserve
