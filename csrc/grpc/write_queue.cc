#include "grpc/write_queue.h"

#include <algorithm>

namespace fastserve {

void WriteQueue::AppendCopy(const void* data, std::size_t size) {
  if (size == 0) return;
  const std::size_t begin = scratch_.size();
  scratch_.append(static_cast<const char*>(data), size);
  size_ += size;
  if (!segments_.empty() && segments_.back().view.data == nullptr) {
    segments_.back().size += size;
    return;
  }
  segments_.push_back({begin, size, {}});
}

void WriteQueue::AppendView(BufferView view) {
  if (view.size < kViewBytes) {
    CountCopiedBytes(view.size);
    AppendCopy(view.data, view.size);
    return;
  }
  size_ += view.size;
  view_bytes_ += view.size;
  const std::size_t size = view.size;
  segments_.push_back({0, size, std::move(view)});
}

std::size_t WriteQueue::Gather(std::span<iovec> room) const {
  std::size_t count = 0;
  std::size_t offset = offset_;
  for (std::size_t i = first_; i < segments_.size() && count < room.size(); ++i) {
    const Segment& segment = segments_[i];
    const char* begin = segment.view.data != nullptr
                            ? reinterpret_cast<const char*>(segment.view.data)
                            : scratch_.data() + segment.scratch_begin;
    room[count++] = {const_cast<char*>(begin + offset), segment.size - offset};
    offset = 0;
  }
  return count;
}

void WriteQueue::Consume(std::size_t count) {
  size_ -= count;
  if (size_ == 0) {
    Clear();
    return;
  }
  while (count > 0) {
    Segment& segment = segments_[first_];
    const std::size_t take = std::min(count, segment.size - offset_);
    offset_ += take;
    count -= take;
    if (offset_ == segment.size) {
      segment.view = {};
      ++first_;
      offset_ = 0;
    }
  }
}

void WriteQueue::CopyOut() {
  if (view_bytes_ == 0) return;
  std::string flat;
  flat.reserve(size_);
  for (std::size_t i = first_; i < segments_.size(); ++i) {
    const Segment& segment = segments_[i];
    const std::size_t skip = i == first_ ? offset_ : 0;
    const char* begin = segment.view.data != nullptr
                            ? reinterpret_cast<const char*>(segment.view.data)
                            : scratch_.data() + segment.scratch_begin;
    flat.append(begin + skip, segment.size - skip);
  }
  CountCopiedBytes(view_bytes_);
  Clear();
  AppendCopy(flat.data(), flat.size());
}

void WriteQueue::Clear() {
  constexpr std::size_t kKeptScratchBytes = 256 * 1024;
  segments_.clear();
  if (scratch_.capacity() > kKeptScratchBytes) {
    scratch_ = {};
  } else {
    scratch_.clear();
  }
  first_ = 0;
  offset_ = 0;
  size_ = 0;
  view_bytes_ = 0;
}

}  // namespace fastserve
