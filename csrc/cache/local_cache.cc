#include "cache/local_cache.h"

#include <sys/random.h>

#include <cerrno>
#include <cstdlib>
#include <utility>

namespace fastserve {

namespace {

constexpr std::size_t kShardCount = 32;

// A key that no client knows, so that none can make two requests with one hash.
SipHasher::Key RandomKey() {
  SipHasher::Key key{};
  ssize_t read = 0;
  do {
    read = getrandom(key.data(), sizeof(key), 0);
  } while (read < 0 && errno == EINTR);
  if (read != sizeof(key)) std::abort();  // getrandom(2): so few bytes are always given
  return key;
}

}  // namespace

LocalCache::LocalCache(std::uint64_t capacity_bytes)
    : capacity_bytes_(capacity_bytes), secret_(RandomKey()), shards_(kShardCount) {}

RequestKey LocalCache::KeyOf(const CacheScope& scope, const InferRequest& request) const {
  return KeyInProcess(secret_, scope, request);
}

CachedResponse LocalCache::Find(const RequestKey& key) {
  Shard& shard = ShardOf(key);
  const MutexLock lock(shard.mutex);
  const auto found = shard.by_key.find(key);
  if (found == shard.by_key.end()) return nullptr;
  Entry& entry = *found->second;
  entry.tick = next_tick_.fetch_add(1, std::memory_order_relaxed);
  shard.entries.splice(shard.entries.begin(), shard.entries, found->second);
  NoteOldestLocked(&shard);
  return entry.response;
}

void LocalCache::Insert(const RequestKey& key, const InferResponse& response) {
  if (TensorBytes(response) > capacity_bytes_) return;
  CachedResponse copy = CopyResponse(response);
  if (copy == nullptr) return;
  const std::size_t bytes = EntryBytes(*copy);
  if (bytes > capacity_bytes_) return;
  Shard& shard = ShardOf(key);
  Erase(&shard, key);  // before the bytes are taken: replacing an entry evicts no other
  if (!Reserve(bytes)) return;
  Entries gone;
  Entries node;
  node.push_back({key, std::move(copy), bytes, 0});
  const MutexLock lock(shard.mutex);
  // Another thread may have inserted the same key meanwhile.
  if (const auto found = shard.by_key.find(key); found != shard.by_key.end()) {
    UnlinkLocked(&shard, found->second, &gone);
  }
  node.front().tick = next_tick_.fetch_add(1, std::memory_order_relaxed);
  shard.entries.splice(shard.entries.begin(), node);
  shard.by_key.emplace(key, shard.entries.begin());
  NoteOldestLocked(&shard);
}

std::size_t LocalCache::EntryBytes(const InferResponse& copy) {
  constexpr std::size_t kLinks = 2 * sizeof(void*);  // of a list's node; of a table's with its hash
  constexpr std::size_t kBucket = sizeof(void*);
  constexpr std::size_t kIndexNode =
      kLinks + sizeof(std::pair<const RequestKey, Entries::iterator>) + kBucket;
  return ResponseBytes(copy) + sizeof(Entry) + kLinks + kIndexNode;
}

std::size_t LocalCache::entry_count() const {
  std::size_t count = 0;
  for (const Shard& shard : shards_) {
    const MutexLock lock(shard.mutex);
    count += shard.entries.size();
  }
  return count;
}

bool LocalCache::Reserve(std::size_t bytes) {
  std::uint64_t used = used_bytes_.load(std::memory_order_relaxed);
  for (;;) {
    if (used <= capacity_bytes_ - bytes) {
      if (used_bytes_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed)) {
        return true;
      }
    } else {
      if (!EvictOldest()) return false;
      used = used_bytes_.load(std::memory_order_relaxed);
    }
  }
}

bool LocalCache::EvictOldest() {
  Shard* oldest = nullptr;
  std::uint64_t oldest_tick = kNoTick;
  for (Shard& shard : shards_) {
    const std::uint64_t tick = shard.oldest_tick.load(std::memory_order_relaxed);
    if (tick < oldest_tick) {
      oldest = &shard;
      oldest_tick = tick;
    }
  }
  if (oldest == nullptr) return false;
  Entries gone;
  const MutexLock lock(oldest->mutex);
  // Empty when another thread was quicker: then the caller looks again.
  if (!oldest->entries.empty()) UnlinkLocked(oldest, std::prev(oldest->entries.end()), &gone);
  return true;
}

void LocalCache::Erase(Shard* shard, const RequestKey& key) {
  Entries gone;
  const MutexLock lock(shard->mutex);
  const auto found = shard->by_key.find(key);
  if (found != shard->by_key.end()) UnlinkLocked(shard, found->second, &gone);
}

void LocalCache::UnlinkLocked(Shard* shard, Entries::iterator entry, Entries* gone) {
  shard->by_key.erase(entry->key);
  used_bytes_.fetch_sub(entry->bytes, std::memory_order_relaxed);
  gone->splice(gone->begin(), shard->entries, entry);
  NoteOldestLocked(shard);
}

void LocalCache::NoteOldestLocked(Shard* shard) {
  const std::uint64_t tick = shard->entries.empty() ? kNoTick : shard->entries.back().tick;
  shard->oldest_tick.store(tick, std::memory_order_relaxed);
}

}  // namespace fastserve
