// The response cache in the server's own memory (--cache-config local,size=BYTES).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <list>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "cache/response_cache.h"
#include "concurrency/cache_line.h"

namespace fastserve {

// Entries live in shards, each with a mutex of its own that is held for a search and two links; the
// bytes are one budget of all shards, and the entry to evict is the least recently used of all.
// Thread safe; nothing blocks.
// Invariants:
// 1. used_bytes() is the sum of EntryBytes over the entries, those being linked included, and never
//    above the capacity.
// 2. A shard's list is in the order of its ticks, most recent first; `oldest_tick` is the last
// one's.
// 3. Used by one thread, exactly the least recently used entry is evicted, and only when its bytes
//    are needed. With many threads an entry used in that very moment may go instead.
// Evicted responses stay alive as long as answers made from them do.
class LocalCache final : public ResponseCache {
 public:
  explicit LocalCache(std::uint64_t capacity_bytes);

  RequestKey KeyOf(const CacheScope& scope, const InferRequest& request) const override;
  CachedResponse Find(const RequestKey& key) override;
  // A response larger than the cache is not kept, and evicts nothing.
  void Insert(const RequestKey& key, const InferResponse& response) override;
  std::uint64_t used_bytes() const override { return used_bytes_.load(std::memory_order_relaxed); }

  std::uint64_t capacity_bytes() const { return capacity_bytes_; }
  std::size_t entry_count() const;
  // What an entry with this response counts: the response and the cache's own nodes.
  static std::size_t EntryBytes(const InferResponse& copy);

 private:
  struct Entry {
    RequestKey key;
    CachedResponse response;
    std::size_t bytes = 0;
    std::uint64_t tick = 0;
  };
  using Entries = std::list<Entry>;

  struct alignas(kCacheLineBytes) Shard {
    mutable Mutex mutex;
    Entries entries GUARDED_BY(mutex);  // most recently used first
    std::unordered_map<RequestKey, Entries::iterator, RequestKeyHash> by_key GUARDED_BY(mutex);
    // Written under the mutex, read without: a hint where to look for the entry to evict.
    std::atomic<std::uint64_t> oldest_tick{kNoTick};
  };

  static constexpr std::uint64_t kNoTick = UINT64_MAX;

  Shard& ShardOf(const RequestKey& key) { return shards_[key.words[1] % shards_.size()]; }
  // Takes the bytes from the budget, evicting as needed. False when there are not enough to evict.
  bool Reserve(std::size_t bytes);
  // Evicts the least recently used entry. False when there is none.
  bool EvictOldest();
  void Erase(Shard* shard, const RequestKey& key);
  // Moves an entry to `gone`, whose destruction needs no lock, and gives its bytes back.
  void UnlinkLocked(Shard* shard, Entries::iterator entry, Entries* gone) REQUIRES(shard->mutex);
  static void NoteOldestLocked(Shard* shard) REQUIRES(shard->mutex);

  const std::uint64_t capacity_bytes_;
  const SipHasher::Key secret_;
  std::vector<Shard> shards_;
  // Relaxed: counters that order nothing; entries are published by their shard's mutex.
  alignas(kCacheLineBytes) std::atomic<std::uint64_t> used_bytes_{0};
  alignas(kCacheLineBytes) std::atomic<std::uint64_t> next_tick_{0};
};

}  // namespace fastserve
