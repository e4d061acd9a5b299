#include "backend/onnxruntime/cpu_count.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>

namespace fastserve {

namespace {

namespace fs = std::filesystem;

int AffinityCount() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
  return static_cast<int>(std::thread::hardware_concurrency());
}

std::string ReadText(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
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

// The smallest limit of the group and its parents. A container usually sees its own group as the
// root, whatever /proc/self/cgroup calls it, so the root is always looked at.
template <typename QuotaOf>
int SmallestQuota(const fs::path& root, std::string_view group, QuotaOf quota_of) {
  int limit = 0;
  fs::path relative = fs::path(group).relative_path();
  while (!relative.empty()) {
    TakeSmaller(quota_of(root / relative), &limit);
    relative = relative.parent_path();
  }
  TakeSmaller(quota_of(root), &limit);
  return limit;
}

// One line of /proc/self/cgroup, "id:controllers:/group". An empty controller list is cgroup v2.
int LimitOfLine(const fs::path& root, std::string_view line) {
  const std::size_t first = line.find(':');
  const std::size_t second = first == line.npos ? line.npos : line.find(':', first + 1);
  if (second == line.npos) return 0;
  const std::string_view controllers = line.substr(first + 1, second - first - 1);
  const std::string_view group = line.substr(second + 1);
  if (controllers.empty()) return SmallestQuota(root, group, QuotaV2);
  if (("," + std::string(controllers) + ",").find(",cpu,") == std::string::npos) return 0;
  int limit = SmallestQuota(root / "cpu", group, QuotaV1);
  TakeSmaller(SmallestQuota(root / std::string(controllers), group, QuotaV1), &limit);
  return limit;
}

}  // namespace

int CgroupCpuLimit(const fs::path& cgroup_root, std::string_view proc_self_cgroup) {
  int limit = 0;
  while (!proc_self_cgroup.empty()) {
    const std::size_t end = std::min(proc_self_cgroup.find('\n'), proc_self_cgroup.size());
    TakeSmaller(LimitOfLine(cgroup_root, proc_self_cgroup.substr(0, end)), &limit);
    proc_self_cgroup.remove_prefix(std::min(end + 1, proc_self_cgroup.size()));
  }
  return limit;
}

int UsableCpuCount() {
  int count = std::max(1, AffinityCount());
  TakeSmaller(CgroupCpuLimit("/sys/fs/cgroup", ReadText("/proc/self/cgroup")), &count);
  return count;
}

}  // namespace fastserve
