// A directory that looks like /sys/fs/cgroup, with files as container runtimes write them.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace fastserve {

class CgroupTree : public ::testing::Test {
 protected:
  CgroupTree() {
    std::string pattern = (std::filesystem::temp_directory_path() / "cgroup_XXXXXX").string();
    root_ = mkdtemp(pattern.data());
  }
  ~CgroupTree() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& file, const std::string& content) const {
    std::filesystem::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << content;
  }
  const std::filesystem::path& root() const { return root_; }

 private:
  std::filesystem::path root_;
};

}  // namespace fastserve
