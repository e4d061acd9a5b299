// ModelStreamInfer: many requests and responses on one call. As in Triton, the responses of models
// that are not decoupled come in the order of their requests, and an error is a response of its own
// unless the client sent `triton_grpc_error: true`.
#pragma once

#include <deque>
#include <memory>
#include <optional>

#include "grpc/grpc_infer_call.h"

namespace fastserve {

class StreamInferRequest;

// The state of one stream, shared with its requests. I/O thread only.
// Invariant: pending_ holds, in order, the requests that are not wholly answered.
class StreamInfer final : public CallState, public std::enable_shared_from_this<StreamInfer> {
 public:
  // The stream of `call`, made with its first message.
  static StreamInfer* Of(GrpcCall* call, const ServiceContext& service);

  StreamInfer(GrpcCall* call, const ServiceContext& service) : call_(call), service_(service) {}
  void OnMessage(const BufferView& message);
  void OnHalfClose();
  void OnCallClosed() override;
  void OnDrained() override { AdjustReading(); }
  void OnResponse(StreamInferRequest* request, InferResponse response, bool final);

 private:
  // Pausing bounds what one stream can have waiting; the client goes on when half of it is
  // answered.
  static constexpr std::size_t kMaxPending = 1024;
  static constexpr std::size_t kMaxUnsentBytes = std::size_t{32} << 20;

  void WriteReady();
  void Write(const InferRequest& request, const InferResponse& response);
  void EndIfAnswered();
  void AdjustReading();

  GrpcCall* call_;
  const ServiceContext& service_;
  std::deque<std::shared_ptr<StreamInferRequest>> pending_;
  bool half_closed_ = false;
  bool paused_ = false;
};

class StreamInferRequest final : public InferRequest, public ResponseSink {
 public:
  StreamInferRequest(std::shared_ptr<StreamInfer> stream,
                     std::shared_ptr<GrpcCompletions> completions)
      : stream_(std::move(stream)), completions_(std::move(completions)) {}
  void OnResponse(const RequestPtr& request, InferResponse response, bool final) override;

 private:
  friend class StreamInfer;
  std::shared_ptr<StreamInfer> stream_;
  std::shared_ptr<GrpcCompletions> completions_;
  // The I/O thread's: what waits for the requests before this one.
  std::deque<InferResponse> ready_;
  bool answered_ = false;
};

}  // namespace fastserve
