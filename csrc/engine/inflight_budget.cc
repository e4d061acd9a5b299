#include "engine/inflight_budget.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace fastserve {

namespace {

// The number in a one-line file; UINT64_MAX when there is none ("max", no such file).
std::uint64_t ReadLimit(const std::string& path) {
  std::ifstream file(path);
  std::uint64_t limit = 0;
  return file >> limit ? limit : UINT64_MAX;
}

// The path of this process's cgroup in the hierarchy named by `controllers` ("" is version 2);
// empty when unknown.
std::string CgroupPath(const std::string& controllers) {
  std::ifstream file("/proc/self/cgroup");
  std::string line;
  while (std::getline(file, line)) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    if (line.substr(first + 1, second - first - 1) == controllers) return line.substr(second + 1);
  }
  return {};
}

}  // namespace

std::uint64_t DefaultInflightBytes() {
  std::uint64_t limit = static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) *
                        static_cast<std::uint64_t>(sysconf(_SC_PAGE_SIZE));
  // In a container the namespace's root is the container's own group, so the bare path counts as
  // well.
  for (const std::string& path : {std::string(), CgroupPath("")}) {
    limit = std::min(limit, ReadLimit("/sys/fs/cgroup" + path + "/memory.max"));
  }
  for (const std::string& path : {std::string(), CgroupPath("memory")}) {
    limit = std::min(limit, ReadLimit("/sys/fs/cgroup/memory" + path + "/memory.limit_in_bytes"));
  }
  return limit / 2;
}

}  // namespace fastserve
