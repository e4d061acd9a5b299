#include "backend/worker/held_requests.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

namespace fastserve {

namespace {

constexpr std::int64_t kStillHeld = std::numeric_limits<std::int64_t>::max();

}  // namespace

class HeldRequests::Hook final : public RoomHook {
 public:
  Hook(std::shared_ptr<HeldRequests> held, std::uint64_t handle)
      : held_(std::move(held)), handle_(handle) {}
  void OnRoom(const RequestPtr& /*request*/) override { held_->GoOn(handle_); }

 private:
  const std::shared_ptr<HeldRequests> held_;
  const std::uint64_t handle_;
};

void HeldRequests::Consider(std::uint64_t handle, const RequestPtr& request) {
  if (!request->congested()) return;
  {
    const MutexLock lock(mutex_);
    std::int64_t& until_ns = held_until_ns_[handle];
    if (until_ns == kStillHeld) return;
    until_ns = kStillHeld;
  }
  // First: the hook may be called at once, and what it sends must come after this.
  Tell(PacketKind::kHold, handle);
  if (!request->WaitForRoom(std::make_shared<Hook>(shared_from_this(), handle))) GoOn(handle);
}

std::int64_t HeldRequests::HeldUntil(std::uint64_t handle) const {
  const MutexLock lock(mutex_);
  const auto found = held_until_ns_.find(handle);
  if (found == held_until_ns_.end()) return 0;
  return found->second == kStillHeld ? clock_.NowNs() : found->second;
}

HeldRequests::Waits HeldRequests::waits() const {
  const MutexLock lock(mutex_);
  Waits waits;
  for (const auto& [handle, until_ns] : held_until_ns_) {
    if (until_ns == kStillHeld) {
      ++waits.now;
    } else {
      waits.until_ns = std::max(waits.until_ns, until_ns);
    }
  }
  return waits;
}

std::int64_t HeldRequests::Forget(std::uint64_t handle) {
  const std::int64_t until_ns = HeldUntil(handle);
  const MutexLock lock(mutex_);
  held_until_ns_.erase(handle);
  return until_ns;
}

void HeldRequests::GoOn(std::uint64_t handle) {
  {
    const MutexLock lock(mutex_);
    const auto found = held_until_ns_.find(handle);
    if (found == held_until_ns_.end() || found->second != kStillHeld) return;
    found->second = clock_.NowNs();
  }
  Tell(PacketKind::kGoOn, handle);
}

void HeldRequests::Tell(PacketKind kind, std::uint64_t handle) {
  std::string body;
  PacketWriter(&body).U64(handle);
  link_->Send(kind, body);
}

}  // namespace fastserve
