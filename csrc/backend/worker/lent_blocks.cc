#include "backend/worker/lent_blocks.h"

#include <string>

namespace fastserve {

void LentBlocks::Add(ArenaBlockPtr block) {
  const Place place{block->segment(), block->offset()};
  const MutexLock lock(mutex_);
  blocks_.emplace(place, std::move(block));
}

Status LentBlocks::TakeBack(std::uint32_t segment, std::uint64_t offset) {
  ArenaBlockPtr block;  // outlives the lock: it may go back to the arena
  const MutexLock lock(mutex_);
  const auto found = blocks_.find({segment, offset});
  if (found == blocks_.end()) {
    return Status::InvalidArgument("it released a block that it does not have: segment " +
                                   std::to_string(segment) + ", offset " + std::to_string(offset));
  }
  block = std::move(found->second);
  blocks_.erase(found);
  return Status::Ok();
}

ArenaBlockPtr LentBlocks::Find(std::uint32_t segment, std::uint64_t offset,
                               std::uint64_t size) const {
  const MutexLock lock(mutex_);
  auto after = blocks_.upper_bound({segment, offset});
  if (after == blocks_.begin()) return nullptr;
  const auto& [place, block] = *--after;
  if (place.first != segment) return nullptr;
  const std::uint64_t into = offset - place.second;
  if (into > block->size() || size > block->size() - into) return nullptr;
  return block;
}

}  // namespace fastserve
