// Back-pressure of decoupled models: a slow reader slows the senders of its own request only.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_set>

#include "backend/worker/worker_link.h"
#include "base/mutex.h"
#include "inference/request.h"

namespace fastserve {

// The requests whose senders in the worker were told to wait (HOLD), until their reader has caught
// up or they are cancelled (GO_ON). Kept alive by the hooks it leaves with requests. Thread safe;
// nothing blocks.
class HeldRequests final : public std::enable_shared_from_this<HeldRequests> {
 public:
  explicit HeldRequests(std::shared_ptr<WorkerLink> link) : link_(std::move(link)) {}

  // After a response that was not the last, on the thread that delivered it.
  void Consider(std::uint64_t handle, const RequestPtr& request) EXCLUDES(mutex_);
  // The request has had its last response.
  void Forget(std::uint64_t handle) EXCLUDES(mutex_);

 private:
  class Hook;
  void GoOn(std::uint64_t handle) EXCLUDES(mutex_);
  void Tell(PacketKind kind, std::uint64_t handle);

  const std::shared_ptr<WorkerLink> link_;
  Mutex mutex_;
  std::unordered_set<std::uint64_t> held_ GUARDED_BY(mutex_);  // handles
};

}  // namespace fastserve
