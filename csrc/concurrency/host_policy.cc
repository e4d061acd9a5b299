#include "concurrency/host_policy.h"

#include <linux/mempolicy.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>

#include "base/log.h"

namespace fastserve {

namespace {

std::atomic<bool> cores_told{false};
std::atomic<bool> memory_told{false};

// Once per process and kind: a thread may change its policy with every batch.
void TellOnce(std::atomic<bool>* told, const std::string& what) {
  const int error = errno;
  if (told->exchange(true, std::memory_order_relaxed)) return;
  LOG_WARNING(what + ": " + std::strerror(error));
}

template <typename Mask>
void SetBit(int bit, Mask* mask) {
  constexpr std::size_t kBits = 8 * sizeof(typename Mask::value_type);
  const auto index = static_cast<std::size_t>(bit);
  if (bit >= 0 && index / kBits < mask->size()) (*mask)[index / kBits] |= 1UL << (index % kBits);
}

template <typename Mask>
bool SetCores(const Mask& mask) {
  return sched_setaffinity(0, sizeof(mask), reinterpret_cast<const cpu_set_t*>(mask.data())) == 0;
}

// The kernel takes one off the number of bits.
template <typename Mask>
constexpr unsigned long kNodeBits = 8 * sizeof(Mask) + 1;

template <typename Mask>
bool SetMemory(int mode, const Mask& mask) {
  return syscall(SYS_set_mempolicy, mode, mask.data(), kNodeBits<Mask>) == 0;
}

}  // namespace

thread_local const HostPolicy* HostPolicyScope::followed_ = nullptr;

HostPolicyScope::~HostPolicyScope() {
  if (saved_) Restore();
  followed_ = outer_;
}

bool HostPolicyScope::IsFollowed(const HostPolicy* policy) {
  if (policy == followed_) return true;
  return policy != nullptr && followed_ != nullptr && *policy == *followed_;
}

void HostPolicyScope::Change(const HostPolicy* policy) {
  const bool alike = IsFollowed(policy);
  followed_ = policy;
  if (alike) return;
  if (saved_) {
    Restore();
  } else {
    Save();
  }
  if (policy != nullptr) Apply(*policy);
}

void HostPolicyScope::Save() {
  saved_ = Saved{};
  Saved& saved = *saved_;
  saved.has_cores = sched_getaffinity(0, sizeof(saved.cores),
                                      reinterpret_cast<cpu_set_t*>(saved.cores.data())) == 0;
  saved.has_memory = syscall(SYS_get_mempolicy, &saved.memory_mode, saved.nodes.data(),
                             kNodeBits<Mask<kMaxNodes>>, nullptr, 0UL) == 0;
}

void HostPolicyScope::Restore() {
  // Errors have no remedy: the thread stays where it is.
  if (saved_->has_cores) (void)SetCores(saved_->cores);
  if (saved_->has_memory) (void)SetMemory(saved_->memory_mode, saved_->nodes);
}

void HostPolicyScope::Apply(const HostPolicy& policy) {
  Mask<kMaxCores> cores{};
  for (const int core : policy.cpu_cores) SetBit(core, &cores);
  if (!policy.cpu_cores.empty() && !SetCores(cores))
    TellOnce(&cores_told, "cannot keep instances on the cores of their host policy");
  if (!policy.numa_node) return;
  Mask<kMaxNodes> nodes{};
  SetBit(*policy.numa_node, &nodes);
  if (!SetMemory(MPOL_BIND, nodes)) {
    TellOnce(&memory_told, "cannot take the memory of instances from NUMA node " +
                               std::to_string(*policy.numa_node) +
                               " (a container needs the system call set_mempolicy)");
  }
}

}  // namespace fastserve
