#include "backend/onnxruntime/cpu_count.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <thread>

#include "base/cgroup.h"

namespace fastserve {

namespace {

namespace fs = std::filesystem;

int AffinityCount() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
  return static_cast<int>(std::thread::hardware_concurrency());
}

// 0 (no limit) unless both are positive; "max" and "-1" are not.
int CoresFromQuota(long long quota, long long period) {
  if (quota <= 0 || period <= 0) return 0;
  return static_cast<int>(std::max<long long>(1, (quota + period - 1) / period));
}

int QuotaV2(const fs::path& group) {
  std::ifstream file(group / "cpu.max");
  std::string quota;
  long long period = 0;
  if (!(file >> quota >> period) || quota == "max") return 0;
  return CoresFromQuota(std::strtoll(quota.c_str(), nullptr, 10), period);
}

int QuotaV1(const fs::path& group) {
  std::ifstream quota_file(group / "cpu.cfs_quota_us");
  std::ifstream period_file(group / "cpu.cfs_period_us");
  long long quota = 0;
  long long period = 0;
  if (!(quota_file >> quota) || !(period_file >> period)) return 0;
  return CoresFromQuota(quota, period);
}

void TakeSmaller(int candidate, int* limit) {
  if (candidate > 0 && (*limit == 0 || candidate < *limit)) *limit = candidate;
}

}  // namespace

int CgroupCpuLimit(const fs::path& cgroup_root, std::string_view proc_self_cgroup) {
  const CgroupFolders folders = FindCgroupFolders(cgroup_root, proc_self_cgroup, "cpu");
  int limit = 0;
  for (const fs::path& folder : folders.v2) TakeSmaller(QuotaV2(folder), &limit);
  for (const fs::path& folder : folders.v1) TakeSmaller(QuotaV1(folder), &limit);
  return limit;
}

int UsableCpuCount() {
  int count = std::max(1, AffinityCount());
  TakeSmaller(CgroupCpuLimit("/sys/fs/cgroup", ReadSelfCgroup()), &count);
  return count;
}

}  // namespace fastserve
