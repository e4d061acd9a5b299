#include "scheduling/rate_limiter.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <set>

#include "inference/call_chain.h"

namespace fastserve {

namespace {

std::string LowerCase(const std::string& text) {
  std::string lower = text;
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return lower;
}

// Host instances are on device 0.
constexpr char kGlobalPrefix[] = "global/";
constexpr char kDevicePrefix[] = "0/";

std::string KeyOf(const ResourceSpec& resource, bool global) {
  return (global ? kGlobalPrefix : kDevicePrefix) + LowerCase(resource.name);
}

using ResourceCounts = std::map<std::string, std::uint32_t>;

ResourceCounts NeedsOf(const InstanceGroupSpec& group) {
  ResourceCounts needs;
  for (const ResourceSpec& resource : group.resources)
    needs[KeyOf(resource, resource.global)] = resource.count;
  return needs;
}

// What every execution of the model holds, whichever instance it is on.
ResourceCounts LeastNeedsOf(const ModelSpec& spec) {
  std::optional<ResourceCounts> least;
  for (const InstanceGroupSpec& group : spec.instance_groups) {
    if (group.passive) continue;
    ResourceCounts needs = NeedsOf(group);
    if (!least) {
      least = std::move(needs);
      continue;
    }
    for (auto& [key, count] : *least)
      count = std::min(count, needs.contains(key) ? needs[key] : 0U);
  }
  return least.value_or(ResourceCounts());
}

ResourceCounts HeldByAncestors(const InferRequest& request) {
  ResourceCounts held;
  for (const InferRequest* cause = CauseOf(request); cause != nullptr; cause = CauseOf(*cause)) {
    if (cause->spec == nullptr || !cause->holds_instance.load(std::memory_order_relaxed)) continue;
    for (const auto& [key, count] : LeastNeedsOf(*cause->spec)) held[key] += count;
  }
  return held;
}

}  // namespace

ResourceClaim::~ResourceClaim() { limiter_.Unregister(this); }

bool ResourceClaim::TryTake() {
  const MutexLock lock(limiter_.mutex_);
  if (state_ == State::kIdle) {
    state_ = State::kWaiting;
    // Who was away does not catch up on what it missed.
    start_tag_ = std::max(start_tag_, limiter_.virtual_time_);
    limiter_.ServeLineLocked(this);
  }
  if (state_ != State::kReserved) return false;
  state_ = State::kHeld;
  return true;
}

void ResourceClaim::GiveBack() {
  const MutexLock lock(limiter_.mutex_);
  if (state_ != State::kHeld) return;
  state_ = State::kIdle;
  limiter_.ReturnLocked(*this);
  limiter_.ServeLineLocked(nullptr);
}

void ResourceClaim::Withdraw() {
  const MutexLock lock(limiter_.mutex_);
  if (state_ != State::kWaiting && state_ != State::kReserved) return;
  if (state_ == State::kReserved) limiter_.ReturnLocked(*this);
  state_ = State::kIdle;
  limiter_.ServeLineLocked(nullptr);
}

Status RateLimiter::CheckLocked(const InstanceGroupSpec& group) {
  std::set<std::string> names;
  for (const ResourceSpec& resource : group.resources) {
    if (!names.insert(LowerCase(resource.name)).second) {
      return Status::InvalidArgument("Resource \"" + resource.name +
                                     "\" is listed twice in an instance group");
    }
    if (resources_.contains(KeyOf(resource, !resource.global))) {
      return Status::InvalidArgument(
          "Resource \"" + resource.name +
          "\" is present as both global and device-specific resource in the model configuration");
    }
    const auto given = counts_.find(LowerCase(resource.name));
    if (given != counts_.end() && given->second < resource.count) {
      return Status::InvalidArgument(
          "Resource count for \"" + resource.name + "\" is limited to " +
          std::to_string(given->second) +
          " which will prevent scheduling of one or more model instances, the minimum required "
          "count is " +
          std::to_string(resource.count));
    }
  }
  return Status::Ok();
}

Result<std::unique_ptr<ResourceClaim>> RateLimiter::Register(const InstanceGroupSpec& group) {
  std::unique_ptr<ResourceClaim> claim;
  const MutexLock lock(mutex_);
  FASTSERVE_RETURN_IF_ERROR(CheckLocked(group));
  claim.reset(new ResourceClaim(this));
  claim->priority_ = std::max<std::uint64_t>(group.rate_limiter_priority, 1);
  claim->start_tag_ = virtual_time_;
  for (const ResourceSpec& resource : group.resources)
    claim->needs_.push_back({KeyOf(resource, resource.global), resource.count});
  claims_.push_back(claim.get());
  ResizeLocked();
  return claim;
}

Status RateLimiter::CheckCallChain(const InferRequest& request, const ModelSpec& target) {
  const ResourceCounts held = HeldByAncestors(request);
  if (held.empty()) return Status::Ok();
  std::string missing;
  const MutexLock lock(mutex_);
  for (const InstanceGroupSpec& group : target.instance_groups) {
    if (group.passive) continue;
    const std::string lacks = FirstLackedLocked(NeedsOf(group), held);
    if (lacks.empty()) return Status::Ok();
    missing = lacks;
  }
  if (missing.empty()) return Status::Ok();
  return Status::Unavailable("model '" + target.name + "' needs the rate limiter's resource \"" +
                             missing + "\", of which the models that call it (" +
                             CallChainText(request, target) +
                             ") hold too much: this request could only be served after itself; "
                             "raise its count (--rate-limit-resource)");
}

std::string RateLimiter::FirstLackedLocked(const std::map<std::string, std::uint32_t>& needs,
                                           const std::map<std::string, std::uint32_t>& held) const {
  for (const auto& [key, count] : needs) {
    const auto taken = held.find(key);
    const auto resource = resources_.find(key);
    if (taken == held.end() || resource == resources_.end()) continue;
    if (std::uint64_t{taken->second} + count > resource->second.total)
      return key.substr(key.find('/') + 1);
  }
  return {};
}

void RateLimiter::Unregister(ResourceClaim* claim) {
  const MutexLock lock(mutex_);
  const bool takes = claim->state_ == ResourceClaim::State::kReserved ||
                     claim->state_ == ResourceClaim::State::kHeld;
  if (takes) ReturnLocked(*claim);
  std::erase(claims_, claim);
  ResizeLocked();
  ServeLineLocked(nullptr);
}

// A resource lives while an instance names it or uses it.
void RateLimiter::ResizeLocked() {
  for (auto& [key, resource] : resources_) resource.total = 0;
  for (const ResourceClaim* claim : claims_) {
    for (const ResourceClaim::Need& need : claim->needs_) {
      const auto given = counts_.find(need.key.substr(need.key.find('/') + 1));
      Resource& resource = resources_[need.key];
      resource.total =
          given != counts_.end() ? given->second : std::max(resource.total, need.count);
    }
  }
  std::set<std::string_view> named;
  for (const ResourceClaim* claim : claims_) {
    for (const ResourceClaim::Need& need : claim->needs_) named.insert(need.key);
  }
  std::erase_if(resources_, [&named](const auto& entry) {
    return !named.contains(entry.first) && entry.second.used == 0;
  });
}

bool RateLimiter::FitsLocked(const ResourceClaim& claim) {
  return std::ranges::all_of(
      claim.needs_, [this](const ResourceClaim::Need& need) NO_THREAD_SAFETY_ANALYSIS {
        const Resource& resource = resources_[need.key];
        return resource.used <= resource.total && need.count <= resource.total - resource.used;
      });
}

void RateLimiter::ReturnLocked(const ResourceClaim& claim) {
  for (const ResourceClaim::Need& need : claim.needs_) resources_[need.key].used -= need.count;
}

ResourceClaim* RateLimiter::FirstInLineLocked() {
  ResourceClaim* first = nullptr;
  for (ResourceClaim* claim : claims_) {
    if (claim->state_ != ResourceClaim::State::kWaiting) continue;
    if (first == nullptr || claim->start_tag_ < first->start_tag_) first = claim;
  }
  return first;
}

void RateLimiter::ServeLineLocked(const ResourceClaim* asking) {
  while (ResourceClaim* first = FirstInLineLocked()) {
    if (!FitsLocked(*first)) return;
    for (const ResourceClaim::Need& need : first->needs_) resources_[need.key].used += need.count;
    first->state_ = ResourceClaim::State::kReserved;
    virtual_time_ = std::max(virtual_time_, first->start_tag_);
    first->start_tag_ += first->priority_;
    if (first != asking && first->on_reserved_) first->on_reserved_();
  }
}

}  // namespace fastserve
