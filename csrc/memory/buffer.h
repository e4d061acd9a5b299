// A tensor's bytes: a reference-counted Buffer and a BufferView, a slice that keeps it alive.
// Memory may be host, pinned, a shared region or a CUDA device; the type says so from the first
// day.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

namespace fastserve {

enum class MemoryType : std::uint8_t { kHost, kPinned, kSharedRegion, kCuda };

// Bytes at a fixed address. Ownership: shared_ptr<Buffer>; the destructor gives the memory back.
// Invariants: 1. data and size never change. 2. Writing is allowed only before the buffer is
// shared. Thread safe for reading.
class Buffer {
 public:
  virtual ~Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  MemoryType memory_type() const { return memory_type_; }
  // Device ordinal of kCuda and kPinned memory, else 0.
  int device_id() const { return device_id_; }

 protected:
  Buffer(std::byte* data, std::size_t size, MemoryType memory_type, int device_id)
      : data_(data), size_(size), memory_type_(memory_type), device_id_(device_id) {}

 private:
  std::byte* data_;
  std::size_t size_;
  MemoryType memory_type_;
  int device_id_;
};

using BufferPtr = std::shared_ptr<Buffer>;

// Alignment of every host buffer that fastserve allocates, in bytes (a cache line; SIMD friendly).
inline constexpr std::size_t kBufferAlignment = 64;

// A new uninitialised host buffer of `size` bytes (0 is allowed), aligned to kBufferAlignment.
// Returns null when memory is exhausted.
BufferPtr AllocateHostBuffer(std::size_t size);

// Wraps foreign host memory (an OrtValue, a numpy array); `release` runs once, on whichever thread
// drops the last reference.
BufferPtr WrapHostBuffer(void* data, std::size_t size, std::function<void()> release);

// A slice of a buffer; keeps it alive. An empty view may have no owner.
struct BufferView {
  BufferPtr owner;
  std::byte* data = nullptr;
  std::size_t size = 0;

  BufferView() = default;
  BufferView(BufferPtr buffer)  // NOLINT(google-explicit-constructor)
      : owner(std::move(buffer)),
        data(owner ? owner->data() : nullptr),
        size(owner ? owner->size() : 0) {}
  BufferView(BufferPtr buffer, std::byte* begin, std::size_t length)
      : owner(std::move(buffer)), data(begin), size(length) {}

  // The bytes [offset, offset + length) of this view; the caller has checked the range.
  BufferView Slice(std::size_t offset, std::size_t length) const {
    return {owner, data + offset, length};
  }
};

// Counts the tensor bytes that fastserve copied in user space since start (request assembly,
// alignment, strings). Shown by `nv_fastserve_copied_bytes_total`; proves the copies of
// ARCHITECTURE.md. Thread safe.
void CountCopiedBytes(std::size_t bytes);
std::uint64_t CopiedBytes();

}  // namespace fastserve
