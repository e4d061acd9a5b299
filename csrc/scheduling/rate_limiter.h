// Which instances may execute now: named resources that instances of all models share. Source:
// Triton user guide "rate_limiter.md"; the order of those that wait is start-time fair queueing
// (Goyal, Vin, Cheng, SIGCOMM 1996) with a model's priority as the inverse of its weight.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/status.h"
#include "inference/model_spec.h"
#include "inference/request.h"

namespace fastserve {

class RateLimiter;

// What one instance needs for each execution. Owned by the instance's scheduler, which is its only
// caller; destroying it gives everything back. The scheduler keeps the limiter for longer.
class ResourceClaim {
 public:
  ~ResourceClaim();
  ResourceClaim(const ResourceClaim&) = delete;
  ResourceClaim& operator=(const ResourceClaim&) = delete;

  // Called, maybe under the limiter's lock and from any thread, when the resources were reserved
  // after TryTake had said no. Must not block or call the limiter. Set before the first TryTake.
  void set_on_reserved(std::function<void()> on_reserved) { on_reserved_ = std::move(on_reserved); }
  // True: the resources are held until GiveBack. False: the claim waits in line. Never blocks.
  bool TryTake();
  // Ends what TryTake began; `resources` means nothing any more.
  void GiveBack();
  // Leaves the line, or gives a reservation back; nothing when neither waiting nor reserved.
  void Withdraw();
  // What the execution that it is held for may lend. Between TryTake and GiveBack.
  std::shared_ptr<ExecutionResources> resources() const;

 private:
  friend class RateLimiter;
  class Lease;
  // Those who have their resources back: they are told when no lock is held.
  using Leases = std::vector<std::shared_ptr<Lease>>;
  enum class State : std::uint8_t { kIdle, kWaiting, kReserved, kHeld };
  struct Need {
    std::string key;
    std::uint32_t count = 0;
  };

  explicit ResourceClaim(RateLimiter* limiter) : limiter_(*limiter) {}
  // For the lease.
  void LendAll(Leases* served);
  // True: it has its resources again. False: it waits in line, from which the lease is told.
  bool TakeBackAll(Leases* served);
  bool HasAll() const;
  static void Tell(const Leases& served);

  RateLimiter& limiter_;
  std::vector<Need> needs_;
  std::uint64_t priority_ = 1;
  std::function<void()> on_reserved_;
  // Guarded by the limiter's mutex.
  State state_ = State::kIdle;
  std::uint64_t start_tag_ = 0;
  std::shared_ptr<Lease> lease_;  // of the execution that it is held for
};

// Thread safe; nothing blocks.
//
// Invariants: 1. a resource is never used beyond its count; 2. a claim gets all it needs or
// nothing, and waits while holding nothing, also while its execution waits for calls of its own, so
// claims cannot deadlock; 3. nobody overtakes the
// first in line, so nobody starves; 4. whoever can be served is: a claim waits only behind one that
// does not fit.
class RateLimiter {
 public:
  // `--rate-limit-resource`: counts by lower-case name. A resource that is not listed has as many
  // as the most demanding instance needs.
  explicit RateLimiter(std::map<std::string, std::uint32_t> counts) : counts_(std::move(counts)) {}

  // Errors: InvalidArgument when an instance could never run, or uses a global resource as a
  // device's or the other way round.
  Result<std::unique_ptr<ResourceClaim>> Register(const InstanceGroupSpec& group) EXCLUDES(mutex_);

 private:
  friend class ResourceClaim;
  struct Resource {
    std::uint32_t total = 0;
    std::uint32_t used = 0;
  };

  Status CheckLocked(const InstanceGroupSpec& group) REQUIRES(mutex_);
  void Unregister(ResourceClaim* claim) EXCLUDES(mutex_);
  void ResizeLocked() REQUIRES(mutex_);
  bool FitsLocked(const ResourceClaim& claim) REQUIRES(mutex_);
  void ReturnLocked(const ResourceClaim& claim) REQUIRES(mutex_);
  ResourceClaim* FirstInLineLocked() REQUIRES(mutex_);
  // Reserves for those in line, as far as it goes; tells all but `asking` and `served`.
  void ServeLineLocked(const ResourceClaim* asking, ResourceClaim::Leases* served) REQUIRES(mutex_);

  const std::map<std::string, std::uint32_t> counts_;
  Mutex mutex_;
  std::map<std::string, Resource> resources_ GUARDED_BY(mutex_);  // by key
  std::vector<ResourceClaim*> claims_ GUARDED_BY(mutex_);
  std::uint64_t virtual_time_ GUARDED_BY(mutex_) = 0;  // start tag of the claim served last
};

}  // namespace fastserve
