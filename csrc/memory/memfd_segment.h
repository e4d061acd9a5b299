// Memory that two processes share without a name: a memfd, sealed so that neither side can change
// its size under the other (docs/design/005-python-backend.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/status.h"
#include "base/unique_fd.h"

namespace fastserve {

// A mapping of a whole memfd, for reading and writing. Shared by the buffers that lie in it; the
// destructor unmaps. Invariants: 1. the memory cannot be truncated, by anybody (sealed: shrink,
// grow, seal), so that reading it never raises SIGBUS; 2. it holds no descriptor. Thread safe; what
// the other process writes meanwhile is its own matter: read a length once, then check it.
class MemfdSegment {
 public:
  struct Created;
  // A new segment of `size` bytes of zeros (not 0), with the descriptor that the other process is
  // sent. Errors: Unavailable when there is no memory or no descriptor.
  static Result<Created> Create(std::size_t size);
  // Maps a descriptor that another process sent as `size` bytes. Errors: InvalidArgument when it is
  // not a memfd with the seals, or its size is another; Unavailable when it cannot be mapped.
  static Result<std::shared_ptr<MemfdSegment>> Adopt(UniqueFd fd, std::uint64_t size);

  ~MemfdSegment();
  MemfdSegment(const MemfdSegment&) = delete;
  MemfdSegment& operator=(const MemfdSegment&) = delete;

  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  MemfdSegment(std::byte* data, std::size_t size) : data_(data), size_(size) {}
  static Result<std::shared_ptr<MemfdSegment>> Map(int fd, std::size_t size);

  std::byte* const data_;
  const std::size_t size_;
};

struct MemfdSegment::Created {
  std::shared_ptr<MemfdSegment> segment;
  UniqueFd fd;
};

}  // namespace fastserve
