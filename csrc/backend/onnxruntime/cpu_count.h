// How many cores this process may use: the smaller of its CPU affinity and its cgroup's CPU quota.
#pragma once

#include <filesystem>
#include <string_view>

namespace fastserve {

// At least 1. Reads the affinity mask and the files under /proc and /sys/fs/cgroup; a file that is
// not there sets no limit.
int UsableCpuCount();

// The quota, in whole cores rounded up, that cgroup v2 (cpu.max) or v1 (cpu.cfs_quota_us) sets for
// the group that `proc_self_cgroup` (the text of /proc/self/cgroup) names, or for one of its
// parents; 0 when there is none. Source:
// https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files
int CgroupCpuLimit(const std::filesystem::path& cgroup_root, std::string_view proc_self_cgroup);

}  // namespace fastserve
