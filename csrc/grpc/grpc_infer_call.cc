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

void GrpcInferCall::OnResponse(const RequestPtr& request, InferResponse response, bool final) {
  if (completions_->OnThread()) return Deliver(response, final);
  completions_->Push(MakeGrpcTask(
      [this, self = request, response = std::move(response), final] { Deliver(response, final); }));
}

void GrpcInferCall::Deliver(const InferResponse& response, bool final) {
  GrpcCall* call = call_;
  if (call == nullptr) return;
  Status status = response.status;
  if (status.ok() && spec != nullptr && spec->decoupled) {
    status = Status::Unsupported(
        "ModelInfer RPC doesn't support models with decoupled transaction policy");
  }
  if (status.ok()) {
    WireMessage message;
    status = BuildModelInferResponse(*this, response, &message);
    if (status.ok()) call->Send(std::move(message));
  }
  if (!status.ok() || final) call->Finish(GrpcStatus::From(status));
}

void GrpcInferCall::OnCallClosed() {
  call_ = nullptr;
  if (!completed()) Cancel();
}

}  // namespace fastserve
