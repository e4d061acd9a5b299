// A counter that many threads add to without sharing a cache line.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "concurrency/cache_line.h"

namespace fastserve {

// Thread safe and wait free. Relaxed throughout: nothing is ordered by a counter. Costs a cache
// line per shard, so use it for what the whole server counts, not per model.
class ShardedCounter {
 public:
  void Add(std::uint64_t count = 1) {
    shards_[ThreadShard()].value.fetch_add(count, std::memory_order_relaxed);
  }

  // The sum over the shards: never less than what was added before by this thread.
  std::uint64_t Value() const {
    std::uint64_t sum = 0;
    for (const Shard& shard : shards_) sum += shard.value.load(std::memory_order_relaxed);
    return sum;
  }

 private:
  static constexpr std::size_t kShards = 16;

  struct alignas(kCacheLineBytes) Shard {
    std::atomic<std::uint64_t> value{0};
  };

  // Threads take the shards in turn, for their whole life.
  static std::size_t ThreadShard() {
    static std::atomic<std::size_t> next_thread{0};
    static thread_local const std::size_t shard =
        next_thread.fetch_add(1, std::memory_order_relaxed) % kShards;
    return shard;
  }

  std::array<Shard, kShards> shards_;
};

}  // namespace fastserve
