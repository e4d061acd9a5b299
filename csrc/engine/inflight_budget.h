// The server's bound on request bytes in memory (--max-inflight-bytes) and its count of requests in
// flight.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string_view>

#include "engine/inflight_counter.h"
#include "memory/byte_budget.h"

namespace fastserve {

// The smallest limit, in bytes, that cgroup v2 (memory.max) or v1 (memory.limit_in_bytes) sets for
// the group that `proc_self_cgroup` (the text of /proc/self/cgroup) names, or for one of its
// parents; UINT64_MAX when there is none.
std::uint64_t CgroupMemoryLimit(const std::filesystem::path& cgroup_root,
                                std::string_view proc_self_cgroup);

// Half of the memory this process may use: the cgroup's limit, else the machine's memory. In bytes.
std::uint64_t DefaultInflightBytes();

// Thread safe.
class InflightBudget {
 public:
  explicit InflightBudget(std::uint64_t max_bytes)
      : bytes_(std::make_shared<ByteBudget>(max_bytes)) {}

  const std::shared_ptr<ByteBudget>& bytes() const { return bytes_; }
  InflightCounter& requests() { return requests_; }
  const InflightCounter& requests() const { return requests_; }

 private:
  const std::shared_ptr<ByteBudget> bytes_;
  InflightCounter requests_;
};

}  // namespace fastserve
