// The server's blocks that a worker may read and write now.
#pragma once

#include <cstdint>
#include <map>
#include <utility>

#include "base/mutex.h"
#include "base/status.h"
#include "memory/block_arena.h"

namespace fastserve {

// Keeps each block until the worker says that it does not need it any more. Thread safe.
class LentBlocks {
 public:
  void Add(ArenaBlockPtr block) EXCLUDES(mutex_);
  // The worker says RELEASE. Errors: InvalidArgument when it has no such block.
  Status TakeBack(std::uint32_t segment, std::uint64_t offset) EXCLUDES(mutex_);
  // The block that `size` bytes (not 0) at `offset` of the segment lie in; null when there is none.
  ArenaBlockPtr Find(std::uint32_t segment, std::uint64_t offset, std::uint64_t size) const
      EXCLUDES(mutex_);

 private:
  using Place = std::pair<std::uint32_t, std::uint64_t>;  // segment, offset

  mutable Mutex mutex_;
  std::map<Place, ArenaBlockPtr> blocks_ GUARDED_BY(mutex_);
};

}  // namespace fastserve
