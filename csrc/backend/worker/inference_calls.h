// The calls that a model in a worker makes to the server: inference by other models (BLS), and
// control of the repository.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "backend/inference_host.h"
#include "backend/worker/wire.h"
#include "backend/worker/worker_link.h"
#include "base/mutex.h"
#include "base/status.h"

namespace fastserve {

// Kept alive by its calls. Thread safe; nothing blocks. Invariants: 1. each call is answered, the
// last time with `final`; 2. a call's inputs are views on the worker's block, which goes back when
// the request is done. Errors are InvalidArgument: the worker broke a rule.
class InferenceCalls final : public std::enable_shared_from_this<InferenceCalls> {
 public:
  // The requests that a worker knows by so many handles from the first one on, without those that
  // have ended.
  using FindRequests = std::function<std::vector<RequestPtr>(std::uint64_t, std::uint32_t)>;

  // `host` may be null: every call is answered with an error.
  InferenceCalls(std::shared_ptr<WorkerLink> link, std::shared_ptr<InferenceHost> host,
                 std::shared_ptr<const Wakeup> wakeup);

  // BLS_REQUEST, BLS_CANCEL, BLS_TAKEN and CALL.
  Status Start(std::string_view body, const FindRequests& find_requests) EXCLUDES(mutex_);
  Status Cancel(std::string_view body) EXCLUDES(mutex_);
  Status Taken(std::string_view body) EXCLUDES(mutex_);
  // `loading`: the model that is not initialized yet, whose load waits for the answer; else empty.
  Status Control(std::string_view body, std::string_view loading) EXCLUDES(mutex_);
  // So many CALLs of which no one wants to know the result wait for their turn that the worker is
  // to be read no further for now. `wakeup` is notified when it can be again.
  bool crowded() const EXCLUDES(mutex_);
  // Cancels what was called for the sake of a request of the model's own whose client is gone, and
  // of no other that still has one.
  void CancelCallsOf(const InferRequest& caller) EXCLUDES(mutex_);
  // The worker is gone: cancels every call.
  void End() EXCLUDES(mutex_);
  bool empty() const EXCLUDES(mutex_);

 private:
  class Sink;
  struct Call {
    std::uint64_t id = 0;
    std::uint64_t first_caller = 0;  // a handle
    std::uint32_t caller_count = 0;
    bool decoupled = false;
    RequestPtr request;
  };

  struct OpenCall {
    RequestPtr request;
    std::shared_ptr<Sink> sink;
    std::vector<RequestPtr> callers;  // whom it was made for
  };

  static Result<Call> ReadCall(PacketReader* reader);
  Status ReadInputs(PacketReader* reader, const BlockRange& range, InferRequest* request);
  void Respond(std::uint64_t call, bool decoupled, const InferResponse& response, bool final)
      EXCLUDES(mutex_);
  void Return(std::uint64_t call, std::string_view json);
  // {member: json, "loading": name or "", "worker": number}
  std::string FromWorker(std::string_view member, std::string_view json,
                         std::string_view loading) const;

  const std::shared_ptr<WorkerLink> link_;
  const std::shared_ptr<InferenceHost> host_;
  const std::shared_ptr<const Wakeup> wakeup_;
  const std::uint64_t number_;  // of this life of a worker, never used again

  mutable Mutex mutex_;
  bool ended_ GUARDED_BY(mutex_) = false;
  std::unordered_map<std::uint64_t, OpenCall> calls_ GUARDED_BY(mutex_);
  // CALLs without an answer yet; those of number 0 apart.
  std::size_t controls_ GUARDED_BY(mutex_) = 0;
  std::size_t notifications_ GUARDED_BY(mutex_) = 0;
  bool crowded_ GUARDED_BY(mutex_) = false;
  bool controlled_ GUARDED_BY(mutex_) = false;  // there was one
};

}  // namespace fastserve
