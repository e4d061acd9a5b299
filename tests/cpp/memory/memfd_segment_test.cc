#include "memory/memfd_segment.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

namespace fastserve {
namespace {

UniqueFd MakeMemfd(std::size_t size, int seals) {
  UniqueFd fd(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(ftruncate(fd.get(), static_cast<off_t>(size)), 0);
  if (seals != 0) {
    EXPECT_EQ(fcntl(fd.get(), F_ADD_SEALS, seals), 0);
  }
  return fd;
}

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

TEST(MemfdSegment, WhatOneSideWritesTheOtherReads) {
  auto created = MemfdSegment::Create(8192);
  ASSERT_TRUE(created.ok());
  const auto adopted = MemfdSegment::Adopt(std::move(created->fd), 8192);
  ASSERT_TRUE(adopted.ok()) << adopted.status().message();
  std::memcpy(created->segment->data() + 5000, "bytes", 5);
  EXPECT_EQ(std::memcmp((*adopted)->data() + 5000, "bytes", 5), 0);
  EXPECT_EQ((*adopted)->size(), 8192U);
}

TEST(MemfdSegment, NobodyCanChangeItsSize) {
  const auto created = MemfdSegment::Create(8192);
  ASSERT_TRUE(created.ok());
  EXPECT_NE(ftruncate(created->fd.get(), 4096), 0);
  EXPECT_NE(ftruncate(created->fd.get(), 16384), 0);
  EXPECT_NE(fcntl(created->fd.get(), F_ADD_SEALS, F_SEAL_WRITE), 0);
}

TEST(MemfdSegment, RefusesWhatCouldBeTruncated) {
  for (const int seals : {0, F_SEAL_SHRINK, F_SEAL_SHRINK | F_SEAL_SEAL, F_SEAL_GROW}) {
    const auto adopted = MemfdSegment::Adopt(MakeMemfd(4096, seals), 4096);
    EXPECT_EQ(adopted.status().code(), StatusCode::kInvalidArgument) << seals;
  }
}

TEST(MemfdSegment, RefusesAnotherSizeThanAnnounced) {
  for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{4095}, std::uint64_t{8192},
                                   ~std::uint64_t{0}, std::uint64_t{1} << 63}) {
    const auto adopted = MemfdSegment::Adopt(MakeMemfd(4096, kSeals), size);
    EXPECT_EQ(adopted.status().code(), StatusCode::kInvalidArgument) << size;
  }
}

TEST(MemfdSegment, RefusesDescriptorsOfOtherThings) {
  UniqueFd zero(open("/dev/zero", O_RDWR | O_CLOEXEC));
  EXPECT_FALSE(MemfdSegment::Adopt(std::move(zero), 4096).ok());
  EXPECT_FALSE(MemfdSegment::Adopt(UniqueFd(), 4096).ok());
}

TEST(MemfdSegment, RefusesOneThatCannotBeWritten) {
  const auto adopted = MemfdSegment::Adopt(MakeMemfd(4096, kSeals | F_SEAL_WRITE), 4096);
  EXPECT_FALSE(adopted.ok());
}

}  // namespace
}  // namespace fastserve
