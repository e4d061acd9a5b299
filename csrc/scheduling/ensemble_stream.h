// The responses of the decoupled step of a request to an ensemble, on their way to the client.
//
//   the step's response -> Add -> Next -> a pass through the steps behind it -> Finish -> client
//
// EnsembleRun runs the passes; this keeps them in order, counts them, and makes the step wait.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>

#include "base/mutex.h"
#include "inference/request.h"
#include "scheduling/model_statistics.h"
#include "scheduling/response_order.h"

namespace fastserve {

// The source is the request of the decoupled step, the parent that of the client. Thread safe;
// nothing blocks. Invariants: 1. what the passes make is sent one at a time, in the order in which
// the source sent; 2. the first failure in that order is the request's: nothing behind it is sent,
// and what runs for it is cancelled; 3. the source is congested while `limit` of its responses have
// not been sent on, unless it holds resources of the rate limiter, or the parent has no room, and
// it is told when both have ended.
class EnsembleStream final : public RoomHook, public std::enable_shared_from_this<EnsembleStream> {
 public:
  // What a run of an ensemble came to.
  struct Outcome {
    Status failure;
    FailureReason reason = FailureReason::kOther;
    InferResponse response;
    ComputeSums sums;
  };
  struct Arrival {
    std::uint64_t number = 0;  // 0, 1, 2 ...
    InferResponse response;
  };

  EnsembleStream(RequestPtr parent, std::size_t limit);

  // Before it is submitted. False when there is another one already.
  bool Begin(const RequestPtr& source) EXCLUDES(mutex_);
  // Null when no step was decoupled so far.
  RequestPtr source() const EXCLUDES(mutex_);
  // For the source's sink.
  bool congested() const EXCLUDES(mutex_);
  // A response of the source, which makes a pass when it has tensors.
  void Add(InferResponse response) EXCLUDES(mutex_);
  // Makes the source wait when the client has no room. By whoever brings a response of the source
  // but the last: the parent must not be answered meanwhile.
  void AwaitReader() EXCLUDES(mutex_);
  // The source failed: what it still sends is not taken.
  void Close() EXCLUDES(mutex_);

  // The oldest response without a pass; none after a failure.
  std::optional<Arrival> Next() EXCLUDES(mutex_);
  // Before the pass starts. False: it was cancelled already.
  bool Enter(std::uint64_t number, std::shared_ptr<CancelHook> pass) EXCLUDES(mutex_);
  // The pass has ended; sends its response when all before it have been sent.
  void Finish(std::uint64_t number, Outcome outcome) EXCLUDES(mutex_);
  // Cancels the source and the passes from this one on.
  void CancelFrom(std::uint64_t number) EXCLUDES(mutex_);
  // Calls `last` when all passes have been sent. There is no further one.
  void End(std::function<void()> last) EXCLUDES(mutex_);
  // In `last`: adds what the passes computed, and the first failure among them in place of a later
  // one.
  void AddTo(Outcome* end) const;

  void OnRoom(const RequestPtr& parent) override EXCLUDES(mutex_);

 private:
  void Send(Outcome outcome) EXCLUDES(mutex_);
  bool HasRoomLocked() const REQUIRES(mutex_);

  const RequestPtr parent_;
  const std::size_t limit_;
  ResponseOrder order_;
  // Of what was sent: touched inside of order_ only, by one thread at a time.
  Outcome sent_;

  mutable Mutex mutex_;
  RequestPtr source_ GUARDED_BY(mutex_);
  std::deque<InferResponse> waiting_ GUARDED_BY(mutex_);
  std::size_t on_their_way_ GUARDED_BY(mutex_) = 0;  // from Add until sent
  std::uint64_t next_ GUARDED_BY(mutex_) = 0;
  // Passes from this number on are of no use.
  std::uint64_t end_ GUARDED_BY(mutex_) = std::numeric_limits<std::uint64_t>::max();
  std::map<std::uint64_t, std::shared_ptr<CancelHook>> running_ GUARDED_BY(mutex_);
  bool closed_ GUARDED_BY(mutex_) = false;
  // The parent's RoomHook is this, or is about to be.
  bool reader_is_slow_ GUARDED_BY(mutex_) = false;
};

}  // namespace fastserve
