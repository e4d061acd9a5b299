#include "grpc/admin_calls.h"

namespace fastserve {

void AdminResponder::Answer(GrpcStatus status, std::string message) {
  if (call_ == nullptr) return;
  completions_->Push(MakeGrpcTask(
      [call = std::move(call_), status = std::move(status),
       message = std::move(message)]() mutable { call->Finish(status, std::move(message)); }));
  call_ = nullptr;
}

void AdminCall::Finish(const GrpcStatus& status, std::string message) {
  if (call_ == nullptr) return;
  GrpcCall* call = call_;
  if (status.ok()) {
    WireMessage wire;
    wire.pieces.push_back({std::move(message), {}});
    call->Send(std::move(wire));
  }
  call->Finish(status);
}

void StartAdminCall(GrpcCall* call, const BufferView& message, AdminHandler* handler,
                    const std::shared_ptr<GrpcCompletions>& completions) {
  if (handler == nullptr) {
    return call->Finish({GrpcStatusCode::kUnimplemented, "'" + std::string(call->method().name) +
                                                             "' is not offered by this server"});
  }
  auto state = std::make_shared<AdminCall>(call);
  call->set_state(state);
  std::string request(reinterpret_cast<const char*>(message.data), message.size);
  handler->OnAdminCall(call->method().name, std::move(request),
                       std::make_unique<AdminResponder>(std::move(state), completions));
}

}  // namespace fastserve
