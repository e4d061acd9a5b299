// How many cores a process may use, from cgroup files as container runtimes write them.
#include "backend/onnxruntime/cpu_count.h"

#include <gtest/gtest.h>

#include "support/cgroup_tree.h"

namespace fastserve {
namespace {

class CgroupCpu : public CgroupTree {
 protected:
  int Limit(std::string_view proc_self_cgroup) const {
    return CgroupCpuLimit(root(), proc_self_cgroup);
  }
};

TEST_F(CgroupCpu, WithoutFilesThereIsNoLimit) {
  EXPECT_EQ(Limit("0::/\n"), 0);
  EXPECT_EQ(Limit(""), 0);
  EXPECT_EQ(Limit("nonsense"), 0);
}

TEST_F(CgroupCpu, AQuotaIsRoundedUpToWholeCores) {
  Write("cpu.max", "150000 100000\n");
  EXPECT_EQ(Limit("0::/\n"), 2);
  Write("cpu.max", "10000 100000\n");
  EXPECT_EQ(Limit("0::/\n"), 1);
}

TEST_F(CgroupCpu, MaxIsNoLimit) {
  Write("cpu.max", "max 100000\n");
  EXPECT_EQ(Limit("0::/\n"), 0);
}

TEST_F(CgroupCpu, TheSmallestLimitOfTheGroupAndItsParentsCounts) {
  Write("a/cpu.max", "300000 100000\n");
  Write("a/b/cpu.max", "500000 100000\n");
  EXPECT_EQ(Limit("0::/a/b\n"), 3);
}

TEST_F(CgroupCpu, AContainersOwnGroupIsTheRootWhateverItsName) {
  Write("cpu.max", "200000 100000\n");
  EXPECT_EQ(Limit("0::/docker/0123abcd\n"), 2);
}

TEST_F(CgroupCpu, VersionOneHasTheControllerInALine) {
  Write("cpu/cpu.cfs_quota_us", "400000\n");
  Write("cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(Limit("5:memory:/x\n4:cpu,cpuacct:/x\n"), 4);
  EXPECT_EQ(Limit("5:memory:/x\n4:cpuset:/x\n"), 0);
  Write("cpu/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(Limit("4:cpu:/\n"), 0);
}

TEST(UsableCpuCount, IsAtLeastOne) { EXPECT_GE(UsableCpuCount(), 1); }

}  // namespace
}  // namespace fastserve
