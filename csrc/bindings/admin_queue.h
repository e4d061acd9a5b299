// The administrative gRPC calls on their way to Python's event loop and back.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "grpc/admin_calls.h"

namespace fastserve {

struct PendingAdminCall {
  std::uint64_t id;
  std::string method;
  std::string request;
};

// I/O threads put calls in without the GIL; the event loop is told through a descriptor that
// becomes readable. Thread safe.
class AdminQueue final : public AdminHandler {
 public:
  AdminQueue();
  ~AdminQueue() override;

  void OnAdminCall(std::string_view method, std::string request,
                   std::unique_ptr<AdminResponder> responder) override EXCLUDES(mutex_);
  // Readable while calls wait; Take makes it unreadable.
  int fd() const { return fd_; }
  std::vector<PendingAdminCall> Take() EXCLUDES(mutex_);
  // A call that has been answered already, or is unknown, is ignored.
  void Answer(std::uint64_t id, GrpcStatus status, std::string message) EXCLUDES(mutex_);

 private:
  const int fd_;
  Mutex mutex_;
  std::uint64_t next_id_ GUARDED_BY(mutex_) = 1;
  std::vector<PendingAdminCall> waiting_ GUARDED_BY(mutex_);
  std::unordered_map<std::uint64_t, std::unique_ptr<AdminResponder>> responders_ GUARDED_BY(mutex_);
};

}  // namespace fastserve
