// Where a thread may run and where its memory comes from: a host policy, as Triton calls it
// (--host-policy, `host_policy` of an instance group).
// Sources: sched_setaffinity(2), set_mempolicy(2); Triton user guide "optimization.md", NUMA.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <vector>

namespace fastserve {

struct HostPolicy {
  std::vector<int> cpu_cores;    // empty: any
  std::optional<int> numa_node;  // of the memory; nullopt: as the kernel chooses

  bool empty() const { return cpu_cores.empty() && !numa_node; }
  bool operator==(const HostPolicy&) const = default;
};

// Makes the thread that creates it follow host policies, and everything that thread starts in the
// meantime inherit them; the destructor puts the thread back. Used by that thread only, and one
// inside the other only in order. Never fails: what the kernel refuses is a WARNING, once per
// process, and the thread goes on where it may.
class HostPolicyScope {
 public:
  // `policy` may be null: none. It outlives the scope.
  explicit HostPolicyScope(const HostPolicy* policy) : outer_(followed_) { Follow(policy); }
  ~HostPolicyScope();
  HostPolicyScope(const HostPolicyScope&) = delete;
  HostPolicyScope& operator=(const HostPolicyScope&) = delete;

  // Changes the policy. Costs two system calls when it is another one, else nothing.
  void Follow(const HostPolicy* policy) {
    if (policy != followed_) Change(policy);
  }
  // Whether the calling thread follows a policy like this one; null: none.
  static bool IsFollowed(const HostPolicy* policy);

 private:
  static constexpr std::size_t kMaxCores = 8192;
  static constexpr std::size_t kMaxNodes = 1024;
  static constexpr std::size_t kBitsPerWord = 8 * sizeof(unsigned long);
  // As the kernel takes it: bit n of the words is core or node n.
  template <std::size_t kBits>
  using Mask = std::array<unsigned long, kBits / kBitsPerWord>;

  struct Saved {
    bool has_cores;
    bool has_memory;
    Mask<kMaxCores> cores;
    int memory_mode;
    Mask<kMaxNodes> nodes;
  };

  void Change(const HostPolicy* policy);
  void Save();
  void Restore();
  static void Apply(const HostPolicy& policy);

  static thread_local const HostPolicy* followed_;
  const HostPolicy* const outer_;
  std::optional<Saved> saved_;  // how the thread was before the first policy
};

}  // namespace fastserve
