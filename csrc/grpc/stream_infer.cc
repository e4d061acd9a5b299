#include "grpc/stream_infer.h"

#include "protocol/infer_proto.h"

namespace fastserve {

namespace {

// What a response takes in memory besides its tensors, roughly.
constexpr std::size_t kResponseBytes = 256;

std::size_t BytesOf(const InferResponse& response) {
  std::size_t bytes = kResponseBytes;
  for (const Tensor& tensor : response.outputs) bytes += tensor.data.size;
  return bytes;
}

bool IsDecoupled(const InferRequest& request) {
  return request.spec != nullptr && request.spec->decoupled;
}

}  // namespace

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
    if (!request->completed()) request->Cancel();
  }
}

void StreamInfer::OnResponse(StreamInferRequest* request, InferResponse response, bool final) {
  if (call_ == nullptr) return;
  if (IsDecoupled(*request)) return WriteUnordered(request, std::move(response), final);
  request->response_ = std::move(response);
  WriteReady();
}

// The responses of a decoupled model are bound to no order.
void StreamInfer::WriteUnordered(StreamInferRequest* request, InferResponse response, bool final) {
  const std::shared_ptr<StreamInfer> self = shared_from_this();
  if (!response.flags_only || request->enable_empty_final_response)
    Write(*request, std::move(response), final);
  if (call_ == nullptr) return;
  // Only OnDrained takes it back: it tells those who wait.
  if (call_->unsent_bytes() > kCrowdedBytes) crowded_.store(true, std::memory_order_relaxed);
  if (!final) return;
  std::erase_if(pending_, [&](const auto& pending) { return pending.get() == request; });
  AdjustReading();
  EndIfAnswered();
}

// Writes every response that is not held back by an earlier request.
void StreamInfer::WriteReady() {
  const std::shared_ptr<StreamInfer> self = shared_from_this();
  for (auto it = pending_.begin(); call_ != nullptr && it != pending_.end();) {
    StreamInferRequest& request = **it;
    if (IsDecoupled(request)) {
      ++it;
      continue;
    }
    if (!request.response_) break;
    Write(request, std::move(*request.response_), /*final=*/true);
    if (call_ == nullptr) return;
    it = pending_.erase(it);
  }
  AdjustReading();
  EndIfAnswered();
}

void StreamInfer::Write(const InferRequest& request, InferResponse response, bool final) {
  if (!response.status.ok() && call_->head().triton_grpc_error) {
    return call_->Finish(GrpcStatus::From(response.status));
  }
  response.parameters.insert_or_assign("triton_final_response", final);
  WireMessage message;
  const Status status = BuildModelStreamInferResponse(request, response, &message);
  if (!status.ok()) return call_->Finish(GrpcStatus::From(status));
  call_->Send(std::move(message));
}

// Called within the connection's writing: nothing may be sent here.
void StreamInfer::OnDrained() {
  AdjustReading();
  if (!crowded_.exchange(false, std::memory_order_relaxed)) return;
  for (const auto& request : pending_) request->NotifyRoom();
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
  const std::size_t bytes = BytesOf(response);
  in_transit_bytes_.fetch_add(bytes, std::memory_order_relaxed);
  completions_->Push(
      MakeGrpcTask([this, self = request, response = std::move(response), final, bytes]() mutable {
        Arrive(std::move(response), final, bytes);
      }));
}

void StreamInferRequest::Arrive(InferResponse response, bool final, std::size_t bytes) {
  stream_->OnResponse(this, std::move(response), final);
  const std::size_t before = in_transit_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
  if (before > kTransitBytes && !congested()) NotifyRoom();
}

}  // namespace fastserve
