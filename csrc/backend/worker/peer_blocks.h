// The worker's memory in the server: its segments, and the blocks that it has handed over.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "backend/worker/channel.h"
#include "backend/worker/wire.h"
#include "base/mutex.h"
#include "base/status.h"
#include "memory/buffer.h"
#include "memory/memfd_segment.h"

namespace fastserve {

// Kept alive by the buffers over its blocks. Thread safe. Invariant: a block is handed over until
// the last buffer over it is gone; then the worker is told, together with others, with the next
// batch. Every error is InvalidArgument: the worker broke a rule.
class PeerBlocks final : public std::enable_shared_from_this<PeerBlocks> {
 public:
  explicit PeerBlocks(std::shared_ptr<Channel> channel) : channel_(std::move(channel)) {}

  // SEGMENT and DROP_SEGMENT.
  Status AddSegment(std::string_view body, std::vector<UniqueFd> fds) EXCLUDES(mutex_);
  Status DropSegment(std::string_view body) EXCLUDES(mutex_);
  // A block that a packet hands over; null for a length of 0.
  Result<BufferPtr> Take(const BlockRange& range) EXCLUDES(mutex_);

  // The body of a RELEASE of what has piled up; false when there is nothing.
  bool TakeReleases(std::string* body) EXCLUDES(mutex_);
  // True when blocks are out or wait to be released.
  bool has_blocks() const EXCLUDES(mutex_);

 private:
  class PeerBlock;
  using Place = std::pair<std::uint32_t, std::uint64_t>;  // segment, offset
  struct Segment {
    std::shared_ptr<MemfdSegment> memory;
    std::size_t handed = 0;  // blocks
  };

  void Release(const Place& place, std::size_t size) EXCLUDES(mutex_);

  const std::shared_ptr<Channel> channel_;

  mutable Mutex mutex_;
  std::map<std::uint32_t, Segment> segments_ GUARDED_BY(mutex_);
  std::set<Place> handed_ GUARDED_BY(mutex_);
  std::vector<Place> released_ GUARDED_BY(mutex_);
  std::size_t released_bytes_ GUARDED_BY(mutex_) = 0;
};

}  // namespace fastserve
