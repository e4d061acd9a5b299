// One inference request on its way through the core, and the contract of its completion.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/status.h"
#include "inference/model_spec.h"
#include "inference/response.h"
#include "inference/tensor.h"

namespace fastserve {

class InferRequest;
using RequestPtr = std::shared_ptr<InferRequest>;

// Receives the responses of one request. Implemented by front ends, the in-process API, ensembles
// and BLS.
class ResponseSink {
 public:
  virtual ~ResponseSink() = default;
  // Called from any thread, maybe inside Engine::Submit, without any engine lock held; must not
  // block and must not throw. `final` is true exactly once per request, in the last call. A request
  // to a model that is not decoupled gets exactly one call.
  virtual void OnResponse(const RequestPtr& request, InferResponse response, bool final) = 0;

  // So much of what this sink was sent waits for its reader that the sender should wait as well
  // (InferRequest::WaitForRoom). A hint: what is sent nevertheless is delivered. Any thread.
  virtual bool congested() const { return false; }
  // Not empty: there is room for one response, and a decoupled model refuses the request with this
  // text.
  virtual std::string_view decoupled_refusal() const { return {}; }
};

// A sender of many responses that waits until their reader has caught up.
class RoomHook {
 public:
  virtual ~RoomHook() = default;
  // There may be room again, or the request was cancelled. Any thread, with its locks held: only
  // passes the news on, and answers nothing itself.
  virtual void OnRoom(const RequestPtr& request) = 0;
};

// Where a request waits, so that Cancel can reach it there. Implemented by schedulers.
class CancelHook {
 public:
  virtual ~CancelHook() = default;
  // Takes the request out and completes it as CANCELLED if it is still waiting; does nothing
  // otherwise. Any thread.
  virtual void OnCancel(const RequestPtr& request) = 0;
};

// What an execution holds beside its instance: the rate limiter's resources. While its model waits
// for calls of its own, others may have them: whoever waits holds none. Thread safe; nothing
// blocks.
class ExecutionResources {
 public:
  virtual ~ExecutionResources() = default;
  // Whether there are any that the execution needs, lent or not. False when it has ended.
  virtual bool any() const = 0;
  // A call begins: until the last one has ended the resources are anyone's.
  virtual void Lend() = 0;
  // A call has ended. `then` is called once, when the resources are held again: inside this call
  // if nothing is to be waited for (other calls go on, the execution has ended), otherwise on any
  // thread, maybe with a scheduler's lock held: it must not block or call the engine.
  virtual void TakeBack(std::function<void()> then) = 0;
};

struct RequestedOutput {
  std::string name;
  std::uint32_t classification_count = 0;  // classification extension: 0 = the tensor itself
  bool binary_data = false;                // HTTP: this output as binary
};

// Nanoseconds of Clock::NowNs(); 0 = not reached.
struct RequestTimestamps {
  std::int64_t request_start = 0;
  std::int64_t queue_start = 0;
  std::int64_t compute_start = 0;
  std::int64_t compute_input_end = 0;
  std::int64_t compute_output_start = 0;
  std::int64_t compute_end = 0;
  // Of a decoupled model.
  std::int64_t first_response = 0;
  std::int64_t response_start = 0;  // of the response that is being sent
  std::int64_t response_end = 0;    // when the last one had been sent
};

enum class FailureReason : std::uint8_t { kRejected, kCanceled, kBackend, kOther };

// What the statistics extension tells apart among the responses of a decoupled model.
enum class ResponseKind : std::uint8_t { kSuccess, kFail, kEmpty, kCancel };

// The engine's own end of a request: told once, after the sink has had the final response.
class CompletionListener {
 public:
  virtual ~CompletionListener() = default;
  // Of a decoupled model: around each call of the sink, on the thread that responds.
  virtual void BeforeResponse(InferRequest* /*request*/) {}
  virtual void AfterResponse(InferRequest* /*request*/, ResponseKind /*kind*/) {}
  virtual void OnCompleted(const InferRequest& request) = 0;
};

// A request's place in the one scheduler queue that holds it; guarded by that queue's mutex.
struct QueueLink {
  RequestPtr self;  // the queue's reference; null when not linked
  InferRequest* previous = nullptr;
  InferRequest* next = nullptr;
  std::int64_t deadline_ns = 0;  // queue timeout; 0 = none
  std::uint32_t level = 0;       // of priority
  bool delayed = false;          // timed out with action DELAY
};

// Fields are filled by a front end before Engine::Submit and belong to the engine until completion.
// Invariants: 1. completes exactly once (Complete with final=true); 2. after completion no view
// into its inputs is used. Thread safety: Cancel() and cancelled() from any thread; everything else
// from the thread that owns the request now.
class InferRequest : public std::enable_shared_from_this<InferRequest> {
 public:
  std::string model_name;
  std::int64_t model_version = -1;  // -1: the policy's newest
  std::string id;
  std::vector<Tensor> inputs;
  std::vector<RequestedOutput> outputs;  // empty: all outputs
  Parameters parameters;                 // without the reserved ones that have fields below
  std::uint64_t priority = 0;
  std::uint64_t timeout_us = 0;  // queue timeout asked for by the client; 0 = none
  std::variant<std::uint64_t, std::string> sequence_id{std::uint64_t{0}};
  bool sequence_start = false;
  bool sequence_end = false;
  bool binary_data_output = false;  // HTTP: default of outputs not listed
  bool enable_empty_final_response = false;
  // The ensemble's request that this one is a step of; null for a client's. A step's bytes and the
  // step itself are not counted again: the parent is.
  RequestPtr parent;
  // The request whose execution submitted this one from inside a model (BLS); null for a client's.
  RequestPtr caller;
  // True while an execution of this request occupies an instance, or a place of an ensemble with
  // max_inflight_requests: what the deadlock rule of docs/design/005 looks at. Orders nothing.
  std::atomic<bool> holds_instance{false};
  // Others are given the response too: it is made and sent although this request is cancelled. Set
  // by the response cache, at any time.
  std::atomic<bool> response_is_shared{false};

  // Resolved by Engine::Submit.
  std::shared_ptr<const ModelSpec> spec;
  std::int64_t batch_size = 1;  // first dimension of the inputs, 1 when the model does not batch
  std::size_t input_bytes = 0;  // what this request counts against --max-inflight-bytes
  RequestTimestamps timestamps;

  std::uint32_t response_count = 0;  // of a decoupled model: responses sent so far
  bool failed = false;               // set by Fail, with the reason
  FailureReason failure_reason = FailureReason::kOther;
  QueueLink queue_link;
  std::shared_ptr<CompletionListener> completion_listener;

  // Who gets the responses. Set once before Submit; kept alive by the request until the final
  // response has been taken.
  std::shared_ptr<ResponseSink> sink;

  // Sends a response; `final` ends the request. Non-final calls only for decoupled models. A
  // response after the final one is our own bug and aborts the process.
  void Respond(InferResponse response, bool final);
  // Respond(error, final=true) with this request's id, model and version filled in.
  void Fail(Status status, FailureReason reason);
  bool completed() const { return completed_.load(std::memory_order_acquire); }

  // Asks for the request to end early, idempotent, from any thread: completes it as CANCELLED at
  // once while it waits, when its batch ends otherwise.
  void Cancel();
  // Pairs with the store in Cancel (release).
  bool cancelled() const { return cancelled_.load(std::memory_order_acquire); }

  // Whether the next response of a decoupled model should wait for the reader. The owner, before
  // the final response. What does not wait is delivered all the same, and takes memory.
  bool congested() const { return !cancelled() && sink->congested(); }
  // Calls the hook once when there may be room again: true. False: there is room already, and the
  // hook is not called. The owner, before the final response; one hook at a time.
  bool WaitForRoom(std::shared_ptr<RoomHook> hook);
  // For sinks: no longer congested. Any thread.
  void NotifyRoom();

  // Nobody takes the response any more.
  bool abandoned() const {
    return cancelled() && !response_is_shared.load(std::memory_order_relaxed);
  }

  // For schedulers, before each execution: what it holds; null without a rate limiter. Of a request
  // to an ensemble: what the decoupled step among its steps holds.
  void SetExecutionResources(std::shared_ptr<ExecutionResources> resources);
  // Of the execution that this request is in, or was last. Any thread.
  std::shared_ptr<ExecutionResources> execution_resources();

  // For schedulers: who is told of a cancellation while the request waits; null when it no longer
  // waits. Returns false when the request was cancelled already (the hook is then not called).
  bool SetCancelHook(std::shared_ptr<CancelHook> hook);

 private:
  // Their owners own the request.
  void DropHooks();

  std::atomic<bool> cancelled_{false};
  std::atomic<bool> completed_{false};
  // Guards what follows; held for a pointer copy only.
  std::atomic_flag hook_lock_ = ATOMIC_FLAG_INIT;
  std::shared_ptr<CancelHook> hook_;
  std::shared_ptr<RoomHook> room_hook_;
  std::shared_ptr<ExecutionResources> execution_resources_;
};

}  // namespace fastserve
