// Bytes of one connection ready for the socket: frame headers and small payloads in one scratch
// buffer, large tensor runs as views, handed to writev together.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "memory/buffer.h"

namespace fastserve {

// Not thread safe. Invariant: the unsent bytes are, in order, those of segments_[first_..], less
// offset_ of the first.
class WriteQueue {
 public:
  // Runs shorter than this are copied into the scratch buffer: an iovec entry and a reference cost
  // more.
  static constexpr std::size_t kViewBytes = 1024;

  void AppendCopy(const void* data, std::size_t size);
  void AppendView(BufferView view);

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  // Fills at most `room` entries with the first unsent bytes; returns how many. Valid until the
  // next call.
  std::size_t Gather(std::span<iovec> room) const;
  // Drops the first `count` bytes, which were sent.
  void Consume(std::size_t count);
  // Replaces views by copies.
  void CopyOut();
  void Clear();

 private:
  struct Segment {
    std::size_t scratch_begin;  // when the view is empty
    std::size_t size;
    BufferView view;
  };
  std::vector<Segment> segments_;
  std::string scratch_;
  std::size_t first_ = 0;
  std::size_t offset_ = 0;
  std::size_t size_ = 0;
  std::size_t view_bytes_ = 0;
};

}  // namespace fastserve
