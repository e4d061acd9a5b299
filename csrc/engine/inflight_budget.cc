#include "engine/inflight_budget.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "base/cgroup.h"

namespace fastserve {

namespace {

namespace fs = std::filesystem;

// The number in a one-line file; UINT64_MAX when there is none ("max", no such file).
std::uint64_t ReadLimit(const fs::path& path) {
  std::ifstream file(path);
  std::uint64_t limit = 0;
  return file >> limit ? limit : UINT64_MAX;
}

}  // namespace

std::uint64_t CgroupMemoryLimit(const fs::path& cgroup_root, std::string_view proc_self_cgroup) {
  const CgroupFolders folders = FindCgroupFolders(cgroup_root, proc_self_cgroup, "memory");
  std::uint64_t limit = UINT64_MAX;
  for (const fs::path& folder : folders.v2)
    limit = std::min(limit, ReadLimit(folder / "memory.max"));
  for (const fs::path& folder : folders.v1)
    limit = std::min(limit, ReadLimit(folder / "memory.limit_in_bytes"));
  return limit;
}

std::uint64_t DefaultInflightBytes() {
  const std::uint64_t memory = static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) *
                               static_cast<std::uint64_t>(sysconf(_SC_PAGE_SIZE));
  return std::min(memory, CgroupMemoryLimit("/sys/fs/cgroup", ReadSelfCgroup())) / 2;
}

}  // namespace fastserve
