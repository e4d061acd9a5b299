// How much memory a process may use, from cgroup files as container runtimes write them.
#include <gtest/gtest.h>

#include "engine/inflight_budget.h"
#include "support/cgroup_tree.h"

namespace fastserve {
namespace {

class CgroupMemory : public CgroupTree {
 protected:
  std::uint64_t Limit(std::string_view proc_self_cgroup) const {
    return CgroupMemoryLimit(root(), proc_self_cgroup);
  }
};

TEST_F(CgroupMemory, WithoutFilesThereIsNoLimit) {
  EXPECT_EQ(Limit("0::/\n"), UINT64_MAX);
  EXPECT_EQ(Limit(""), UINT64_MAX);
  EXPECT_EQ(Limit("nonsense"), UINT64_MAX);
}

TEST_F(CgroupMemory, MaxIsNoLimit) {
  Write("a/memory.max", "max\n");
  EXPECT_EQ(Limit("0::/a\n"), UINT64_MAX);
}

TEST_F(CgroupMemory, TheSmallestLimitOfTheGroupAndItsParentsCounts) {
  Write("a/memory.max", "3000\n");
  Write("a/b/memory.max", "max\n");
  Write("a/b/c/memory.max", "5000\n");
  EXPECT_EQ(Limit("0::/a/b/c\n"), 3000U);
  EXPECT_EQ(Limit("0::/a/b\n"), 3000U);
  Write("a/b/c/memory.max", "2000\n");
  EXPECT_EQ(Limit("0::/a/b/c\n"), 2000U);
}

TEST_F(CgroupMemory, AContainersOwnGroupIsTheRootWhateverItsName) {
  Write("memory.max", "4000\n");
  EXPECT_EQ(Limit("0::/docker/0123abcd\n"), 4000U);
}

TEST_F(CgroupMemory, VersionOneHasTheControllerInALine) {
  Write("memory/x/memory.limit_in_bytes", "7000\n");
  Write("memory/x/y/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(Limit("5:memory:/x/y\n4:cpu,cpuacct:/x\n"), 7000U);
  EXPECT_EQ(Limit("5:cpu:/x/y\n"), UINT64_MAX);
}

TEST_F(CgroupMemory, VersionOneBesideVersionTwoHoldsAsWell) {
  Write("memory/memory.limit_in_bytes", "7000\n");
  Write("memory.max", "8000\n");
  EXPECT_EQ(Limit("5:memory:/\n0::/\n"), 7000U);
}

TEST(DefaultInflightBytes, IsSomething) { EXPECT_GT(DefaultInflightBytes(), 0U); }

}  // namespace
}  // namespace fastserve
