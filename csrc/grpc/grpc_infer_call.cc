#include "grpc/grpc_infer_call.h"

#include "protocol/infer_proto.h"

namespace fastserve {

void GrpcInferCall::Start(GrpcCall* call, const BufferView& message,
                          const ServiceContext& service) {
  auto request = std::make_shared<GrpcInferCall>(call, service.completions);
  request->timestamps.request_start = service.engine->clock().NowNs();
  if (Status status = ParseModelInferRequest(message, request.get()); !status.ok()) {
    return call->Finish(GrpcStatus::From(status));
  }
  // The request is its own sink; an owning pointer would be a cycle.
  request->sink = std::shared_ptr<ResponseSink>(std::shared_ptr<void>(), request.get());
  call->set_state(request);
  service.engine->Submit(request, service.lender);
}

void GrpcInferCall::OnResponse(const RequestPtr& request, InferResponse response, bool /*final*/) {
  if (completions_->OnThread()) return Deliver(response);
  completions_->Push(
      MakeGrpcTask([this, self = request, response = std::move(response)] { Deliver(response); }));
}

void GrpcInferCall::Deliver(const InferResponse& response) {
  GrpcCall* call = call_;
  if (call == nullptr) return;
  Status status = response.status;
  if (status.ok()) {
    WireMessage message;
    status = BuildModelInferResponse(*this, response, &message);
    if (status.ok()) call->Send(std::move(message));
  }
  call->Finish(GrpcStatus::From(status));
}

void GrpcInferCall::OnCallClosed() {
  call_ = nullptr;
  if (!completed()) Cancel();
}

}  // namespace fastserve
