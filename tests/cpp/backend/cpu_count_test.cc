// How many cores a process may use, from cgroup files as container runtimes write them.
#include "backend/onnxruntime/cpu_count.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>
#include <string>

namespace fastserve {
namespace {

namespace fs = std::filesystem;

// A directory that looks like /sys/fs/cgroup.
class CgroupTree : public ::testing::Test {
 protected:
  CgroupTree() {
    std::string pattern = (fs::temp_directory_path() / "cpu_count_test_XXXXXX").string();
    root_ = mkdtemp(pattern.data());
  }
  ~CgroupTree() override { fs::remove_all(root_); }

  void Write(const std::string& file, const std::string& content) const {
    fs::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << content;
  }
  int Limit(std::string_view proc_self_cgroup) const {
    return CgroupCpuLimit(root_, proc_self_cgroup);
  }

 private:
  fs::path root_;
};

TEST_F(CgroupTree, WithoutFilesThereIsNoLimit) {
  EXPECT_EQ(Limit("0::/\n"), 0);
  EXPECT_EQ(Limit(""), 0);
  EXPECT_EQ(Limit("nonsense"), 0);
}

TEST_F(CgroupTree, AQuotaIsRoundedUpToWholeCores) {
  Write("cpu.max", "150000 100000\n");
  EXPECT_EQ(Limit("0::/\n"), 2);
  Write("cpu.max", "10000 100000\n");
  EXPECT_EQ(Limit("0::/\n"), 1);
}

TEST_F(CgroupTree, MaxIsNoLimit) {
  Write("cpu.max", "max 100000\n");
  EXPECT_EQ(Limit("0::/\n"), 0);
}

TEST_F(CgroupTree, TheSmallestLimitOfTheGroupAndItsParentsCounts) {
  Write("a/cpu.max", "300000 100000\n");
  Write("a/b/cpu.max", "500000 100000\n");
  EXPECT_EQ(Limit("0::/a/b\n"), 3);
}

TEST_F(CgroupTree, AContainersOwnGroupIsTheRootWhateverItsName) {
  Write("cpu.max", "200000 100000\n");
  EXPECT_EQ(Limit("0::/docker/0123abcd\n"), 2);
}

TEST_F(CgroupTree, VersionOneHasTheControllerInALine) {
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
