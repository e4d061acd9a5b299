#include "memory/buffer.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <vector>

namespace fastserve {
namespace {

TEST(AllocateHostBuffer, IsAlignedAndWritableForEverySize) {
  for (const std::size_t size : {0u, 1u, 63u, 64u, 65u, 1'000'000u}) {
    const BufferPtr buffer = AllocateHostBuffer(size);
    ASSERT_NE(buffer, nullptr);
    EXPECT_EQ(buffer->size(), size);
    EXPECT_EQ(buffer->memory_type(), MemoryType::kHost);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer->data()) % kBufferAlignment, 0u);
    std::memset(buffer->data(), 0x5a, size);
  }
}

TEST(AllocateHostBuffer, ReturnsNullForWhatNoMachineHas) {
  EXPECT_EQ(AllocateHostBuffer(SIZE_MAX), nullptr);
  EXPECT_EQ(AllocateHostBuffer(SIZE_MAX - kBufferAlignment), nullptr);
  EXPECT_EQ(AllocateHostBuffer(std::size_t{1} << 63), nullptr);
}

TEST(WrapHostBuffer, ReleasesOnceWithTheLastView) {
  std::vector<std::byte> memory(8);
  int releases = 0;
  BufferView slice;
  {
    const BufferView whole = WrapHostBuffer(memory.data(), memory.size(), [&] { ++releases; });
    slice = whole.Slice(2, 3);
  }
  EXPECT_EQ(releases, 0);
  EXPECT_EQ(slice.data, memory.data() + 2);
  EXPECT_EQ(slice.size, 3u);
  slice = BufferView();
  EXPECT_EQ(releases, 1);
}

TEST(BufferView, IsEmptyWithoutABuffer) {
  EXPECT_EQ(BufferView().size, 0u);
  EXPECT_EQ(BufferView(BufferPtr()).data, nullptr);
}

TEST(CopiedBytes, AddsUp) {
  const std::uint64_t before = CopiedBytes();
  CountCopiedBytes(5);
  CountCopiedBytes(7);
  EXPECT_EQ(CopiedBytes(), before + 12);
}

}  // namespace
}  // namespace fastserve
