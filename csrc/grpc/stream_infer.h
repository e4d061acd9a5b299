// ModelStreamInfer: many requests and responses on one call. As in Triton, the responses of models
// that are not decoupled come in the order of their requests, each response says in the parameter
// `triton_final_response` whether its request is answered, and an error is a response of its own
// unless the client sent `triton_grpc_error: true`. Source: Triton user guide decoupled_models.md.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <optional>

#include "grpc/grpc_infer_call.h"

namespace fastserve {

class StreamInferRequest;

// The state of one stream, shared with its requests. I/O thread only.
// Invariants: 1. pending_ holds, in order, the requests that are not wholly answered. 2. When
// crowded_, the call has unsent bytes, so that OnDrained follows.
class StreamInfer final : public CallState, public std::enable_shared_from_this<StreamInfer> {
 public:
  // The stream of `call`, made with its first message.
  static StreamInfer* Of(GrpcCall* call, const ServiceContext& service);

  StreamInfer(GrpcCall* call, const ServiceContext& service) : call_(call), service_(service) {}
  void OnMessage(const BufferView& message);
  void OnHalfClose();
  void OnCallClosed() override;
  void OnDrained() override;
  void OnResponse(StreamInferRequest* request, InferResponse response, bool final);
  // The client reads more slowly than its requests are answered. Any thread.
  bool crowded() const { return crowded_.load(std::memory_order_relaxed); }

 private:
  // Pausing bounds what one stream can have waiting; the client goes on when half of it is
  // answered.
  static constexpr std::size_t kMaxPending = 1024;
  static constexpr std::size_t kMaxUnsentBytes = std::size_t{32} << 20;

  // More unsent bytes and decoupled requests wait until all are on their way.
  static constexpr std::size_t kCrowdedBytes = std::size_t{1} << 20;

  void WriteReady();
  void WriteUnordered(StreamInferRequest* request, InferResponse response, bool final);
  void Write(const InferRequest& request, InferResponse response, bool final);
  void EndIfAnswered();
  void AdjustReading();

  GrpcCall* call_;
  const ServiceContext& service_;
  std::deque<std::shared_ptr<StreamInferRequest>> pending_;
  bool half_closed_ = false;
  bool paused_ = false;
  // Written by the I/O thread. Relaxed: InferRequest::WaitForRoom and NotifyRoom order it.
  std::atomic<bool> crowded_{false};
};

class StreamInferRequest final : public InferRequest, public ResponseSink {
 public:
  StreamInferRequest(std::shared_ptr<StreamInfer> stream,
                     std::shared_ptr<GrpcCompletions> completions)
      : stream_(std::move(stream)), completions_(std::move(completions)) {}
  void OnResponse(const RequestPtr& request, InferResponse response, bool final) override;
  bool congested() const override {
    return in_transit_bytes_.load(std::memory_order_relaxed) > kTransitBytes || stream_->crowded();
  }

 private:
  friend class StreamInfer;
  // Responses that the I/O thread has not taken yet.
  static constexpr std::size_t kTransitBytes = std::size_t{1} << 20;
  void Arrive(InferResponse response, bool final, std::size_t bytes);

  std::shared_ptr<StreamInfer> stream_;
  std::shared_ptr<GrpcCompletions> completions_;
  // The I/O thread's: what waits for the requests before this one.
  std::optional<InferResponse> response_;
  // Added to by the sender, taken from by the I/O thread. Relaxed, as StreamInfer::crowded_.
  std::atomic<std::size_t> in_transit_bytes_{0};
};

}  // namespace fastserve
