#include "concurrency/host_policy.h"

#include <gtest/gtest.h>
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <optional>
#include <thread>
#include <vector>

#include "support/affinity.h"

namespace fastserve {
namespace {

// Nullopt where the kernel does not tell.
std::optional<int> MemoryModeOfThisThread() {
  int mode = 0;
  if (syscall(SYS_get_mempolicy, &mode, nullptr, 0UL, nullptr, 0UL) != 0) return std::nullopt;
  return mode;
}

HostPolicy OnCores(std::vector<int> cores) {
  HostPolicy policy;
  policy.cpu_cores = std::move(cores);
  return policy;
}

TEST(HostPolicyScope, ThreadRunsOnTheCoresUntilItsEnd) {
  const std::vector<int> before = CoresOfThisThread();
  const HostPolicy policy = OnCores({before.back()});
  {
    const HostPolicyScope scope(&policy);
    EXPECT_EQ(CoresOfThisThread(), policy.cpu_cores);
    EXPECT_TRUE(HostPolicyScope::IsFollowed(&policy));
  }
  EXPECT_EQ(CoresOfThisThread(), before);
  EXPECT_TRUE(HostPolicyScope::IsFollowed(nullptr));
}

TEST(HostPolicyScope, ThreadsThatAreStartedMeanwhileInherit) {
  const HostPolicy policy = OnCores({CoresOfThisThread().front()});
  std::vector<int> inherited;
  {
    const HostPolicyScope scope(&policy);
    std::thread([&] { inherited = CoresOfThisThread(); }).join();
  }
  EXPECT_EQ(inherited, policy.cpu_cores);
}

TEST(HostPolicyScope, FollowsOnePolicyAfterTheOther) {
  const std::vector<int> before = CoresOfThisThread();
  const HostPolicy first = OnCores({before.front()});
  const HostPolicy second = OnCores({before.back()});
  const HostPolicy like_the_second = OnCores({before.back()});
  HostPolicyScope scope(nullptr);
  for (const HostPolicy* policy : {&first, &second, &like_the_second}) {
    scope.Follow(policy);
    EXPECT_EQ(CoresOfThisThread(), policy->cpu_cores);
  }
  EXPECT_TRUE(HostPolicyScope::IsFollowed(&second));
  scope.Follow(nullptr);
  EXPECT_EQ(CoresOfThisThread(), before);
}

TEST(HostPolicyScope, TakesItsMemoryFromTheNode) {
  if (MemoryModeOfThisThread() != MPOL_DEFAULT) GTEST_SKIP() << "memory policies are not ours";
  HostPolicy policy;
  policy.numa_node = 0;
  {
    const HostPolicyScope scope(&policy);
    EXPECT_EQ(MemoryModeOfThisThread(), MPOL_BIND);
  }
  EXPECT_EQ(MemoryModeOfThisThread(), MPOL_DEFAULT);
}

TEST(HostPolicyScope, WhatTheKernelRefusesLeavesTheThreadWhereItIs) {
  const std::vector<int> before = CoresOfThisThread();
  HostPolicy policy = OnCores({8191});
  policy.numa_node = 1023;
  const HostPolicyScope scope(&policy);
  EXPECT_EQ(CoresOfThisThread(), before);
}

TEST(HostPolicyScope, NumbersBeyondEveryMachineAreNoMemoryErrors) {
  const std::vector<int> before = CoresOfThisThread();
  HostPolicy policy = OnCores({-1, 1'000'000});
  policy.numa_node = 1'000'000;
  const HostPolicyScope scope(&policy);
  EXPECT_EQ(CoresOfThisThread(), before);
}

}  // namespace
}  // namespace fastserve
