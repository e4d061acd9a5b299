// One generate request over HTTP: its responses become the text of a JSON object or of server-sent
// events, which the event loop fetches as fast as its client reads. Source: Triton protocol
// extension_generate.md; HTML Living Standard "Server-sent events".
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "base/mutex.h"
#include "engine/engine.h"
#include "http/completion_queue.h"
#include "protocol/infer_json.h"

namespace fastserve {

// The sink of the request, shared with the event loop's handler. Submit and OnResponse from any
// thread; the rest from the event loop's.
// Invariants: 1. a target is dropped on the event loop's thread only: it is given away when there
// is text, and every request ends. 2. Text beyond kWindowBytes makes the sender wait, so a slow
// client costs a window, whatever its model sends.
class GenerateCall final : public ResponseSink, public std::enable_shared_from_this<GenerateCall> {
 public:
  // Events: as many responses as the model sends, each an event; otherwise exactly one, as JSON.
  enum class Form : std::uint8_t { kOne, kEvents };

  struct Chunk {
    int status = 200;     // the same in every chunk
    bool events = false;  // what the content type says: text/event-stream or application/json
    bool ended = false;
    std::string text;
  };

  GenerateCall(std::shared_ptr<CompletionQueue> queue, Form form, RequestPtr request)
      : queue_(std::move(queue)), form_(form), request_(request), unsent_(std::move(request)) {
    chunk_.events = form == Form::kEvents;
  }

  // Parses, gives back the claim and submits, once. Errors reach the sink.
  void Submit(Engine* engine, const BufferView& body, ByteClaim* claim,
              const InferJsonLimits& limits);
  // `target` is called once, from the queue, when Take has something to give.
  void Await(std::shared_ptr<ReplyTarget> target) EXCLUDES(mutex_);
  Chunk Take() EXCLUDES(mutex_);
  // The client went away. No target is called any more.
  void Cancel() EXCLUDES(mutex_);

  void OnResponse(const RequestPtr& request, InferResponse response, bool final) override
      EXCLUDES(mutex_);
  bool congested() const override {
    return waiting_bytes_.load(std::memory_order_relaxed) > kWindowBytes;
  }

 private:
  static constexpr std::size_t kWindowBytes = std::size_t{256} << 10;

  void AddEvent(const InferRequest& request, const InferResponse& response, bool final)
      EXCLUDES(mutex_);
  void AddOnly(InferRequest* request, const InferResponse& response, bool final) EXCLUDES(mutex_);
  void Publish(std::string text, bool final) EXCLUDES(mutex_);
  // Sets the status of the whole answer.
  void FailLocked(const Status& status, bool events) REQUIRES(mutex_);
  bool ReadyLocked() const REQUIRES(mutex_) { return chunk_.ended || !chunk_.text.empty(); }

  const std::shared_ptr<CompletionQueue> queue_;
  const Form form_;
  const std::weak_ptr<InferRequest> request_;
  RequestPtr unsent_;  // until Submit
  // The sender's: of the responses so far.
  int responses_ = 0;
  std::string only_;
  Status failure_;
  // Relaxed: InferRequest::WaitForRoom and NotifyRoom order it.
  std::atomic<std::size_t> waiting_bytes_{0};
  Mutex mutex_;
  Chunk chunk_ GUARDED_BY(mutex_);
  std::shared_ptr<ReplyTarget> target_ GUARDED_BY(mutex_);
};

}  // namespace fastserve
