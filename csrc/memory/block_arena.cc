#include "memory/block_arena.h"

#include <algorithm>
#include <bit>
#include <string>
#include <utility>

namespace fastserve {

namespace {

constexpr std::size_t kSmallestBlock = 4096;
constexpr std::size_t kLargestSharing = std::size_t{1} << 20;  // larger blocks are segments
constexpr std::size_t kLargestBlock = std::size_t{1} << 46;
constexpr std::uint32_t kLastId = 0x7fffffff;  // bit 31 marks the peer's

std::size_t SegmentSize(std::size_t block_size) {
  constexpr std::size_t kBlocksPerSegment = 4;
  if (block_size > kLargestSharing) return block_size;
  return std::max(kLargestSharing, kBlocksPerSegment * block_size);
}

}  // namespace

ArenaBlock::~ArenaBlock() { arena_->GiveBack(segment_, offset_); }

std::shared_ptr<BlockArena> BlockArena::Create(Options options) {
  return std::shared_ptr<BlockArena>(new BlockArena(std::move(options)));
}

BlockArena::BlockArena(Options options)
    : clock_(*options.clock),
      listener_(std::move(options.listener)),
      spare_bytes_(options.spare_bytes) {}

Result<ArenaBlockPtr> BlockArena::Allocate(std::size_t size) {
  if (size > kLargestBlock)
    return Status::Unavailable("no shared memory for a block of " + std::to_string(size) +
                               " bytes");
  const std::size_t block_size = std::bit_ceil(std::max(size, kSmallestBlock));
  const MutexLock lock(mutex_);
  FASTSERVE_ASSIGN_OR_RETURN(const Segments::iterator found, FindLocked(block_size));
  Segment& segment = found->second;
  const std::size_t offset = segment.free_offsets.back();
  segment.free_offsets.pop_back();
  if (segment.out++ == 0) idle_bytes_ -= segment.memory->size();
  if (segment.free_offsets.empty()) open_[block_size].pop_back();
  return std::make_shared<ArenaBlock>(shared_from_this(), found->first, offset,
                                      segment.memory->data() + offset, size);
}

Result<BlockArena::Segments::iterator> BlockArena::FindLocked(std::size_t block_size) {
  const std::vector<std::uint32_t>& open = open_[block_size];
  if (!open.empty()) return segments_.find(open.back());
  return AddLocked(block_size);
}

Result<BlockArena::Segments::iterator> BlockArena::AddLocked(std::size_t block_size) {
  if (last_id_ == kLastId) return Status::Unavailable("no id is left for a shared memory segment");
  const std::size_t size = SegmentSize(block_size);
  FASTSERVE_ASSIGN_OR_RETURN(MemfdSegment::Created created, MemfdSegment::Create(size));
  const auto added = segments_.emplace(++last_id_, Segment{}).first;
  Segment& segment = added->second;
  segment.memory = std::move(created.segment);
  segment.block_size = block_size;
  for (std::size_t end = size; end != 0; end -= block_size)
    segment.free_offsets.push_back(end - block_size);
  idle_bytes_ += size;
  open_[block_size].push_back(added->first);
  listener_->OnSegment(added->first, size, std::move(created.fd));
  return added;
}

void BlockArena::GiveBack(std::uint32_t id, std::size_t offset) {
  const MutexLock lock(mutex_);
  Segment& segment = segments_.find(id)->second;
  if (segment.free_offsets.empty()) open_[segment.block_size].push_back(id);
  segment.free_offsets.push_back(offset);
  if (--segment.out != 0) return;
  segment.idle_since_ns = clock_.NowNs();
  idle_bytes_ += segment.memory->size();
  while (idle_bytes_ > spare_bytes_) DropOldestLocked();
}

void BlockArena::DropOldestLocked() {
  auto oldest = segments_.end();
  for (auto at = segments_.begin(); at != segments_.end(); ++at) {
    if (at->second.out != 0) continue;
    if (oldest == segments_.end() || at->second.idle_since_ns < oldest->second.idle_since_ns)
      oldest = at;
  }
  DropLocked(oldest);
}

BlockArena::Segments::iterator BlockArena::DropLocked(Segments::iterator segment) {
  idle_bytes_ -= segment->second.memory->size();
  std::erase(open_[segment->second.block_size], segment->first);
  listener_->OnDrop(segment->first);
  return segments_.erase(segment);
}

void BlockArena::Trim(std::int64_t unused_since_ns) {
  const MutexLock lock(mutex_);
  for (auto at = segments_.begin(); at != segments_.end();) {
    const bool unused = at->second.out == 0 && at->second.idle_since_ns < unused_since_ns;
    at = unused ? DropLocked(at) : std::next(at);
  }
}

std::size_t BlockArena::mapped_bytes() const {
  const MutexLock lock(mutex_);
  std::size_t bytes = 0;
  for (const auto& [id, segment] : segments_) bytes += segment.memory->size();
  return bytes;
}

}  // namespace fastserve
