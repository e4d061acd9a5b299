#include "memory/block_arena.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <map>
#include <random>
#include <thread>

#include "support/fake_clock.h"

namespace fastserve {
namespace {

// Knows which segments there are; a segment that comes twice or goes unknown fails the test.
class RecordingListener final : public SegmentListener {
 public:
  void OnSegment(std::uint32_t id, std::size_t size, UniqueFd fd) override {
    EXPECT_TRUE(fd.valid());
    EXPECT_TRUE(segments.emplace(id, size).second);
    EXPECT_EQ(id & 0x80000000U, 0U);
  }
  void OnDrop(std::uint32_t id) override { EXPECT_EQ(segments.erase(id), 1U); }

  std::map<std::uint32_t, std::size_t> segments;
};

class BlockArenaTest : public ::testing::Test {
 protected:
  std::shared_ptr<BlockArena> MakeArena(std::size_t spare_bytes = std::size_t{64} << 20) {
    BlockArena::Options options;
    options.clock = &clock_;
    options.listener = listener_;
    options.spare_bytes = spare_bytes;
    return BlockArena::Create(std::move(options));
  }

  FakeClock clock_;
  std::shared_ptr<RecordingListener> listener_ = std::make_shared<RecordingListener>();
};

TEST_F(BlockArenaTest, ABlockGivenBackIsTheNextOneHandedOut) {
  const auto arena = MakeArena();
  auto block = arena->Allocate(100);
  ASSERT_TRUE(block.ok());
  const std::byte* const data = (*block)->data();
  EXPECT_EQ((*block)->size(), 100U);
  EXPECT_EQ((*block)->memory_type(), MemoryType::kSharedRegion);
  *block = nullptr;
  const auto again = arena->Allocate(4096);
  EXPECT_EQ((*again)->data(), data);
  EXPECT_EQ(listener_->segments.size(), 1U);
}

TEST_F(BlockArenaTest, ALargeBlockIsASegmentOfItsOwn) {
  const auto arena = MakeArena();
  const auto first = arena->Allocate((std::size_t{1} << 20) + 1);
  const auto second = arena->Allocate((std::size_t{1} << 20) + 1);
  EXPECT_NE((*first)->segment(), (*second)->segment());
  EXPECT_EQ((*first)->offset(), 0U);
  EXPECT_EQ(listener_->segments.at((*first)->segment()), std::size_t{2} << 20);
}

TEST_F(BlockArenaTest, FreeSegmentsBeyondTheSpareBytesAreDropped) {
  const auto arena = MakeArena(std::size_t{8} << 20);
  std::vector<ArenaBlockPtr> blocks;
  for (int i = 0; i < 8; ++i) blocks.push_back(*arena->Allocate(std::size_t{4} << 20));
  EXPECT_EQ(arena->mapped_bytes(), std::size_t{32} << 20);
  blocks.clear();
  EXPECT_EQ(arena->mapped_bytes(), std::size_t{8} << 20);
  EXPECT_EQ(listener_->segments.size(), 2U);
}

TEST_F(BlockArenaTest, TrimDropsOnlyWhatWasNotUsedForLong) {
  const auto arena = MakeArena();
  const auto held = arena->Allocate(10);
  (void)arena->Allocate(std::size_t{2} << 20);
  clock_.Advance(1000);
  (void)arena->Allocate(std::size_t{4} << 20);
  arena->Trim(clock_.NowNs());
  EXPECT_EQ(listener_->segments.size(), 2U);
  arena->Trim(clock_.NowNs() + 1);
  ASSERT_EQ(listener_->segments.size(), 1U);
  EXPECT_EQ(listener_->segments.begin()->first, (*held)->segment());
}

TEST_F(BlockArenaTest, MoreThanTheMachineHasIsUnavailable) {
  const auto arena = MakeArena();
  EXPECT_EQ(arena->Allocate(~std::size_t{0}).status().code(), StatusCode::kUnavailable);
  EXPECT_EQ(arena->Allocate((std::size_t{1} << 46) + 1).status().code(), StatusCode::kUnavailable);
}

TEST_F(BlockArenaTest, BlocksOutliveTheOwnersReferenceToTheArena) {
  auto arena = MakeArena();
  const ArenaBlockPtr block = *arena->Allocate(10);
  arena = nullptr;
  std::memset(block->data(), 1, block->size());
}

// Each block that is out is filled with its number; nobody else writes there.
TEST_F(BlockArenaTest, RandomBlocksNeverOverlap) {
  const auto arena = MakeArena(std::size_t{4} << 20);
  std::mt19937 random(7);
  std::map<int, ArenaBlockPtr> out;
  for (int step = 0; step < 3000; ++step) {
    if (random() % 2 == 0 || out.empty()) {
      const std::size_t size = std::size_t{1} << (random() % 22);
      const ArenaBlockPtr block = *arena->Allocate(size);
      EXPECT_EQ(block->offset() % 64, 0U);
      std::memset(block->data(), step % 251, size);
      out[step] = block;
    } else {
      const auto chosen = std::next(out.begin(), static_cast<long>(random() % out.size()));
      const auto* bytes = reinterpret_cast<const unsigned char*>(chosen->second->data());
      ASSERT_EQ(bytes[0], chosen->first % 251);
      ASSERT_EQ(bytes[chosen->second->size() - 1], chosen->first % 251);
      out.erase(chosen);
    }
  }
  out.clear();
  EXPECT_LE(arena->mapped_bytes(), std::size_t{4} << 20);
}

TEST_F(BlockArenaTest, ThreadsTakeAndGiveBackAtOnce) {
  const auto arena = MakeArena();
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int number = 1; number <= 4; ++number) {
    threads.emplace_back([&, number] {
      for (int i = 0; i < 500; ++i) {
        const ArenaBlockPtr block = *arena->Allocate(std::size_t{64} << (i % 9));
        std::memset(block->data(), number, block->size());
        std::this_thread::yield();
        if (block->data()[block->size() - 1] != static_cast<std::byte>(number)) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace fastserve
