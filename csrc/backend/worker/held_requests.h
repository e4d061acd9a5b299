// Back-pressure of decoupled models: a slow reader slows the senders of its own request only.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>

#include "backend/worker/worker_link.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "inference/request.h"

namespace fastserve {

// The requests whose senders in the worker were told to wait (HOLD), until their reader has caught
// up or they are cancelled (GO_ON). Kept alive by the hooks it leaves with requests. Thread safe;
// nothing blocks.
class HeldRequests final : public std::enable_shared_from_this<HeldRequests> {
 public:
  // `clock` outlives it.
  HeldRequests(std::shared_ptr<WorkerLink> link, const Clock* clock)
      : clock_(*clock), link_(std::move(link)) {}

  // After a response that was not the last, on the thread that delivered it.
  void Consider(std::uint64_t handle, const RequestPtr& request) EXCLUDES(mutex_);
  // Until when the request's sender waited: now, while it does; 0: never.
  std::int64_t HeldUntil(std::uint64_t handle) const EXCLUDES(mutex_);
  // Of those that have not had their last response: how many senders wait now, and until when the
  // last of the others waited (0: never).
  struct Waits {
    std::size_t now = 0;
    std::int64_t until_ns = 0;
  };
  Waits waits() const EXCLUDES(mutex_);
  // The request has had its last response. Returns what HeldUntil was.
  std::int64_t Forget(std::uint64_t handle) EXCLUDES(mutex_);

 private:
  class Hook;
  void GoOn(std::uint64_t handle) EXCLUDES(mutex_);
  void Tell(PacketKind kind, std::uint64_t handle);

  const Clock& clock_;
  const std::shared_ptr<WorkerLink> link_;
  mutable Mutex mutex_;
  // By handle: until when; kStillHeld.
  std::unordered_map<std::uint64_t, std::int64_t> held_until_ns_ GUARDED_BY(mutex_);
};

}  // namespace fastserve
