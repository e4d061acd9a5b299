// Where the limits of this process's control group are written. Source:
// https://docs.kernel.org/admin-guide/cgroup-v2.html, cgroup-v1/cgroups.html
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace fastserve {

// A limit may stand in any of them; the smallest holds.
struct CgroupFolders {
  std::vector<std::filesystem::path> v2;
  std::vector<std::filesystem::path> v1;
};

// The folders under `root` (/sys/fs/cgroup) of the group that `proc_self_cgroup` names, and of its
// parents: of cgroup v2, and of the v1 hierarchy that has `controller` ("cpu", "memory"). They need
// not exist.
CgroupFolders FindCgroupFolders(const std::filesystem::path& root,
                                std::string_view proc_self_cgroup, std::string_view controller);

// The text of /proc/self/cgroup; empty when it cannot be read.
std::string ReadSelfCgroup();

}  // namespace fastserve
