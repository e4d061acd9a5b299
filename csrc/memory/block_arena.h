// Blocks of shared memory for one peer process: taken for the bytes of a batch, given back when the
// last user is done, reused while they are warm (docs/design/005-python-backend.md, "Memory").
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "memory/buffer.h"
#include "memory/memfd_segment.h"

namespace fastserve {

class BlockArena;

// Told of the arena's segments, in the order in which they come and go. Called with the arena's
// mutex held: must not block and must not use the arena.
class SegmentListener {
 public:
  virtual ~SegmentListener() = default;
  // `fd` is for the peer. No block of the segment has been handed out yet.
  virtual void OnSegment(std::uint32_t id, std::size_t size, UniqueFd fd) = 0;
  // No block of it is out, and none will be.
  virtual void OnDrop(std::uint32_t id) = 0;
};

// A block. The destructor gives it back to its arena. Thread safe as a Buffer.
class ArenaBlock final : public Buffer {
 public:
  ArenaBlock(std::shared_ptr<BlockArena> arena, std::uint32_t segment, std::size_t offset,
             std::byte* data, std::size_t size)
      : Buffer(data, size, MemoryType::kSharedRegion, 0),
        arena_(std::move(arena)),
        segment_(segment),
        offset_(offset) {}
  ~ArenaBlock() override;

  std::uint32_t segment() const { return segment_; }
  std::size_t offset() const { return offset_; }

 private:
  const std::shared_ptr<BlockArena> arena_;
  const std::uint32_t segment_;
  const std::size_t offset_;
};
using ArenaBlockPtr = std::shared_ptr<ArenaBlock>;

// Kept alive by its blocks. Thread safe; blocks only for the system calls that make a segment.
// Invariants: 1. no two blocks that are out overlap; 2. a segment holds blocks of one size, a power
// of two of at least 4 KiB; above 1 MiB it is one block; 3. of segments without a block that is
// out, at most `spare_bytes` are kept, the last used first.
class BlockArena final : public std::enable_shared_from_this<BlockArena> {
 public:
  struct Options {
    const Clock* clock = nullptr;
    std::shared_ptr<SegmentListener> listener;
    std::size_t spare_bytes = std::size_t{64} << 20;
  };
  static std::shared_ptr<BlockArena> Create(Options options);

  // A block for `size` bytes. Errors: Unavailable when there is no memory.
  Result<ArenaBlockPtr> Allocate(std::size_t size) EXCLUDES(mutex_);
  // Drops the segments of which no block has been out since `unused_since_ns` (Clock::NowNs()).
  void Trim(std::int64_t unused_since_ns) EXCLUDES(mutex_);
  // Of all segments.
  std::size_t mapped_bytes() const EXCLUDES(mutex_);

 private:
  friend class ArenaBlock;
  struct Segment {
    std::shared_ptr<MemfdSegment> memory;
    std::size_t block_size = 0;
    std::vector<std::size_t> free_offsets;  // the last used at the back
    std::size_t out = 0;                    // blocks
    std::int64_t idle_since_ns = 0;
  };
  using Segments = std::map<std::uint32_t, Segment>;

  explicit BlockArena(Options options);
  Result<Segments::iterator> FindLocked(std::size_t block_size) REQUIRES(mutex_);
  Result<Segments::iterator> AddLocked(std::size_t block_size) REQUIRES(mutex_);
  Segments::iterator DropLocked(Segments::iterator segment) REQUIRES(mutex_);
  void DropOldestLocked() REQUIRES(mutex_);
  void GiveBack(std::uint32_t id, std::size_t offset) EXCLUDES(mutex_);

  const Clock& clock_;
  const std::shared_ptr<SegmentListener> listener_;
  const std::size_t spare_bytes_;

  mutable Mutex mutex_;
  Segments segments_ GUARDED_BY(mutex_);
  // By block size, those with a free block, the last used at the back.
  std::map<std::size_t, std::vector<std::uint32_t>> open_ GUARDED_BY(mutex_);
  std::size_t idle_bytes_ GUARDED_BY(mutex_) = 0;  // of segments without a block that is out
  std::uint32_t last_id_ GUARDED_BY(mutex_) = 0;
};

}  // namespace fastserve
