#include "backend/worker/held_requests.h"

#include <string>
#include <utility>

namespace fastserve {

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
    if (!held_.insert(handle).second) return;
  }
  // First: the hook may be called at once, and what it sends must come after this.
  Tell(PacketKind::kHold, handle);
  if (!request->WaitForRoom(std::make_shared<Hook>(shared_from_this(), handle))) GoOn(handle);
}

void HeldRequests::Forget(std::uint64_t handle) {
  const MutexLock lock(mutex_);
  held_.erase(handle);
}

void HeldRequests::GoOn(std::uint64_t handle) {
  {
    const MutexLock lock(mutex_);
    if (held_.erase(handle) == 0) return;
  }
  Tell(PacketKind::kGoOn, handle);
}

void HeldRequests::Tell(PacketKind kind, std::uint64_t handle) {
  std::string body;
  PacketWriter(&body).U64(handle);
  link_->Send(kind, body);
}

}  // namespace fastserve
