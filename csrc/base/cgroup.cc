#include "base/cgroup.h"

#include <algorithm>
#include <fstream>
#include <iterator>

namespace fastserve {

namespace {

namespace fs = std::filesystem;

// A container usually sees its own group as the root, whatever /proc/self/cgroup calls it, so the
// root is always among them.
void AddWithParents(const fs::path& root, std::string_view group, std::vector<fs::path>* folders) {
  fs::path relative = fs::path(group).relative_path();
  while (!relative.empty()) {
    folders->push_back(root / relative);
    relative = relative.parent_path();
  }
  folders->push_back(root);
}

// One line, "id:controllers:/group". An empty controller list is cgroup v2.
void AddLine(const fs::path& root, std::string_view line, const std::string& controller,
             CgroupFolders* folders) {
  const std::size_t first = line.find(':');
  const std::size_t second = first == line.npos ? line.npos : line.find(':', first + 1);
  if (second == line.npos) return;
  const std::string controllers(line.substr(first + 1, second - first - 1));
  const std::string_view group = line.substr(second + 1);
  if (controllers.empty()) return AddWithParents(root, group, &folders->v2);
  if (("," + controllers + ",").find("," + controller + ",") == std::string::npos) return;
  AddWithParents(root / controller, group, &folders->v1);
  if (controllers != controller) AddWithParents(root / controllers, group, &folders->v1);
}

}  // namespace

CgroupFolders FindCgroupFolders(const fs::path& root, std::string_view proc_self_cgroup,
                                std::string_view controller) {
  CgroupFolders folders;
  while (!proc_self_cgroup.empty()) {
    const std::size_t end = std::min(proc_self_cgroup.find('\n'), proc_self_cgroup.size());
    AddLine(root, proc_self_cgroup.substr(0, end), std::string(controller), &folders);
    proc_self_cgroup.remove_prefix(std::min(end + 1, proc_self_cgroup.size()));
  }
  return folders;
}

std::string ReadSelfCgroup() {
  std::ifstream file("/proc/self/cgroup");
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace fastserve
