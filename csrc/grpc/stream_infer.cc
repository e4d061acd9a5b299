#include "grpc/stream_infer.h"

#include "protocol/infer_proto.h"

namespace fastserve {

StreamInfer* StreamInfer::Of(GrpcCall* call, const ServiceContext& service) {
  if (call->state() == nullptr) call->set_state(std::make_shared<StreamInfer>(call, service));
  return static_cast<StreamInfer*>(call->state());
}

void StreamInfer::OnMessage(const BufferView& message) {
  const std::shared_ptr<StreamInfer> self = shared_from_this();  // answering may end the call
  auto request = std::make_shared<StreamInferRequest>(self, service_.completions);
  request->timestamps.request_start = service_.engine->clock().NowNs();
  request->sink = std::shared_ptr<ResponseSink>(std::shared_ptr<void>(), request.get());
  pending_.push_back(request);
  if (Status status = ParseModelInferRequest(message, request.get()); !status.ok()) {
    InferResponse response;
    response.status = std::move(status);
    response.id = request->id;
    OnResponse(request.get(), std::move(response), /*final=*/true);
  } else {
    service_.engine->Submit(request, service_.lender);
  }
  AdjustReading();
}

void StreamInfer::OnHalfClose() {
  half_closed_ = true;
  EndIfAnswered();
}

void StreamInfer::OnCallClosed() {
  call_ = nullptr;
  const auto pending = std::move(pending_);
  pending_.clear();
  for (const auto& request : pending) {
    if (!request->answered_) request->Cancel();
  }
}

void StreamInfer::OnResponse(StreamInferRequest* request, InferResponse response, bool final) {
  if (call_ == nullptr) return;
  request->ready_.push_back(std::move(response));
  request->answered_ = final;
  WriteReady();
}

// Writes every response that is not held back by an earlier request. Decoupled models are not held
// back.
void StreamInfer::WriteReady() {
  const std::shared_ptr<StreamInfer> self = shared_from_this();
  bool in_order = true;
  for (auto it = pending_.begin(); call_ != nullptr && it != pending_.end();) {
    StreamInferRequest& request = **it;
    const bool decoupled = request.spec != nullptr && request.spec->decoupled;
    if (!in_order && !decoupled) {
      ++it;
      continue;
    }
    while (call_ != nullptr && !request.ready_.empty()) {
      Write(request, request.ready_.front());
      request.ready_.pop_front();
    }
    if (call_ == nullptr) return;
    if (request.answered_) {
      it = pending_.erase(it);
    } else {
      // Later requests wait for this one, unless this one is decoupled and bound to no order.
      in_order = in_order && decoupled;
      ++it;
    }
  }
  AdjustReading();
  EndIfAnswered();
}

void StreamInfer::Write(const InferRequest& request, const InferResponse& response) {
  if (!response.status.ok() && call_->head().triton_grpc_error) {
    return call_->Finish(GrpcStatus::From(response.status));
  }
  WireMessage message;
  const Status status = BuildModelStreamInferResponse(request, response, &message);
  if (!status.ok()) return call_->Finish(GrpcStatus::From(status));
  call_->Send(std::move(message));
}

void StreamInfer::EndIfAnswered() {
  if (call_ != nullptr && half_closed_ && pending_.empty()) call_->Finish({});
}

void StreamInfer::AdjustReading() {
  if (call_ == nullptr) return;
  const bool full = pending_.size() > kMaxPending || call_->unsent_bytes() > kMaxUnsentBytes;
  const bool roomy =
      pending_.size() <= kMaxPending / 2 && call_->unsent_bytes() <= kMaxUnsentBytes / 2;
  if (paused_ ? !roomy : !full) return;
  paused_ = !paused_;
  call_->PauseReading(paused_);
}

void StreamInferRequest::OnResponse(const RequestPtr& request, InferResponse response, bool final) {
  if (completions_->OnThread()) return stream_->OnResponse(this, std::move(response), final);
  completions_->Push(
      MakeGrpcTask([this, self = request, response = std::move(response), final]() mutable {
        stream_->OnResponse(this, std::move(response), final);
      }));
}

}  // namespace fastserve
