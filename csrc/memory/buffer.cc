#include "memory/buffer.h"

#include <cstdlib>
#include <new>

namespace fastserve {

namespace {

// A statistic only: nothing is ordered by it.
std::atomic<std::uint64_t> copied_bytes{0};

class HostBuffer final : public Buffer {
 public:
  HostBuffer(std::byte* data, std::size_t size) : Buffer(data, size, MemoryType::kHost, 0) {}
  ~HostBuffer() override { std::free(data()); }
};

class WrappedHostBuffer final : public Buffer {
 public:
  WrappedHostBuffer(void* data, std::size_t size, std::function<void()> release)
      : Buffer(static_cast<std::byte*>(data), size, MemoryType::kHost, 0),
        release_(std::move(release)) {}
  ~WrappedHostBuffer() override { release_(); }

 private:
  std::function<void()> release_;
};

std::size_t RoundUp(std::size_t size) {
  return size == 0 ? kBufferAlignment
                   : (size + kBufferAlignment - 1) / kBufferAlignment * kBufferAlignment;
}

}  // namespace

BufferPtr AllocateHostBuffer(std::size_t size) {
  if (size > PTRDIFF_MAX - kBufferAlignment) return nullptr;  // no object is larger
  auto* data = static_cast<std::byte*>(std::aligned_alloc(kBufferAlignment, RoundUp(size)));
  if (data == nullptr) return nullptr;
  return std::make_shared<HostBuffer>(data, size);
}

BufferPtr WrapHostBuffer(void* data, std::size_t size, std::function<void()> release) {
  return std::make_shared<WrappedHostBuffer>(data, size, std::move(release));
}

void CountCopiedBytes(std::size_t bytes) {
  copied_bytes.fetch_add(bytes, std::memory_order_relaxed);
}

std::uint64_t CopiedBytes() { return copied_bytes.load(std::memory_order_relaxed); }

}  // namespace fastserve
