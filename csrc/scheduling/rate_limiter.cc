#include "scheduling/rate_limiter.h"

#include <algorithm>
#include <cctype>
#include <set>
#include <utility>

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

}  // namespace

// Kept by its requests, maybe for longer than the claim. Locks: its own, then the limiter's.
class ResourceClaim::Lease final : public ExecutionResources {
 public:
  explicit Lease(ResourceClaim* claim) : claim_(claim) {}

  bool any() const override {
    const MutexLock lock(mutex_);
    return claim_ != nullptr && !claim_->needs_.empty();
  }

  void Lend() override {
    std::function<void()> then;
    Leases served;
    {
      const MutexLock lock(mutex_);
      if (++calls_ != 1 || claim_ == nullptr) return;
      then = std::exchange(then_, nullptr);  // nothing is to be had back for now
      claim_->LendAll(&served);
    }
    if (then) then();
    Tell(served);
  }

  void TakeBack(std::function<void()> then) override {
    Leases served;
    {
      const MutexLock lock(mutex_);
      if (--calls_ == 0 && claim_ != nullptr && !claim_->TakeBackAll(&served))
        then_ = std::exchange(then, nullptr);
    }
    if (then) then();
    Tell(served);
  }

  // The claim was reserved; much may have happened since.
  void OnReserved() {
    std::function<void()> then;
    {
      const MutexLock lock(mutex_);
      if (claim_ != nullptr && claim_->HasAll()) then = std::exchange(then_, nullptr);
    }
    if (then) then();
  }

  // The execution has ended: the claim is another's.
  void End() {
    std::function<void()> then;
    {
      const MutexLock lock(mutex_);
      claim_ = nullptr;
      then = std::exchange(then_, nullptr);
    }
    if (then) then();
  }

 private:
  mutable Mutex mutex_;
  ResourceClaim* claim_ GUARDED_BY(mutex_);  // null: the execution has ended
  std::size_t calls_ GUARDED_BY(mutex_) = 0;
  std::function<void()> then_ GUARDED_BY(mutex_);  // set while the claim waits in line
};

ResourceClaim::~ResourceClaim() {
  GiveBack();
  limiter_.Unregister(this);
}

bool ResourceClaim::TryTake() {
  Leases served;
  bool taken = false;
  {
    const MutexLock lock(limiter_.mutex_);
    if (state_ == State::kIdle) {
      state_ = State::kWaiting;
      // Who was away does not catch up on what it missed.
      start_tag_ = std::max(start_tag_, limiter_.virtual_time_);
      limiter_.ServeLineLocked(this, &served);
    }
    if (state_ == State::kReserved) {
      state_ = State::kHeld;
      lease_ = std::make_shared<Lease>(this);
      taken = true;
    }
  }
  Tell(served);
  return taken;
}

void ResourceClaim::GiveBack() {
  std::shared_ptr<Lease> lease;
  {
    const MutexLock lock(limiter_.mutex_);
    lease.swap(lease_);
  }
  if (lease == nullptr) return;
  lease->End();  // first: from now on it leaves this alone
  Leases served;
  LendAll(&served);
  Tell(served);
}

std::shared_ptr<ExecutionResources> ResourceClaim::resources() const {
  const MutexLock lock(limiter_.mutex_);
  return lease_;
}

void ResourceClaim::LendAll(Leases* served) {
  const MutexLock lock(limiter_.mutex_);
  if (state_ == State::kWaiting) {
    start_tag_ += priority_;  // as TakeBackAll found it
  } else if (state_ != State::kIdle) {
    limiter_.ReturnLocked(*this);
  }
  state_ = State::kIdle;
  limiter_.ServeLineLocked(nullptr, served);
}

bool ResourceClaim::TakeBackAll(Leases* served) {
  const MutexLock lock(limiter_.mutex_);
  state_ = State::kWaiting;
  // In its old place: an execution is one turn, however often it lends.
  start_tag_ -= priority_;
  limiter_.ServeLineLocked(this, served);
  return state_ == State::kReserved;
}

bool ResourceClaim::HasAll() const {
  const MutexLock lock(limiter_.mutex_);
  return state_ == State::kReserved || state_ == State::kHeld;
}

void ResourceClaim::Tell(const Leases& served) {
  for (const auto& lease : served) lease->OnReserved();
}

void ResourceClaim::Withdraw() {
  Leases served;
  {
    const MutexLock lock(limiter_.mutex_);
    if (state_ != State::kWaiting && state_ != State::kReserved) return;
    if (state_ == State::kReserved) limiter_.ReturnLocked(*this);
    state_ = State::kIdle;
    limiter_.ServeLineLocked(nullptr, &served);
  }
  Tell(served);
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
  ResourceClaim::Leases served;
  {
    const MutexLock lock(mutex_);
    FASTSERVE_RETURN_IF_ERROR(CheckLocked(group));
    claim.reset(new ResourceClaim(this));
    claim->priority_ = std::max<std::uint64_t>(group.rate_limiter_priority, 1);
    claim->start_tag_ = virtual_time_;
    for (const ResourceSpec& resource : group.resources)
      claim->needs_.push_back({KeyOf(resource, resource.global), resource.count});
    claims_.push_back(claim.get());
    ResizeLocked();
    ServeLineLocked(nullptr, &served);  // there may be more of a resource now
  }
  ResourceClaim::Tell(served);
  return claim;
}

void RateLimiter::Unregister(ResourceClaim* claim) {
  ResourceClaim::Leases served;
  {
    const MutexLock lock(mutex_);
    if (claim->state_ == ResourceClaim::State::kReserved) ReturnLocked(*claim);
    std::erase(claims_, claim);
    ResizeLocked();
    ServeLineLocked(nullptr, &served);
  }
  ResourceClaim::Tell(served);
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

void RateLimiter::ServeLineLocked(const ResourceClaim* asking, ResourceClaim::Leases* served) {
  while (ResourceClaim* first = FirstInLineLocked()) {
    if (!FitsLocked(*first)) return;
    for (const ResourceClaim::Need& need : first->needs_) resources_[need.key].used += need.count;
    first->state_ = ResourceClaim::State::kReserved;
    virtual_time_ = std::max(virtual_time_, first->start_tag_);
    first->start_tag_ += first->priority_;
    if (first == asking) continue;
    if (first->lease_ != nullptr) {
      served->push_back(first->lease_);
    } else if (first->on_reserved_) {
      first->on_reserved_();
    }
  }
}

}  // namespace fastserve
