// The administrative RPCs: handed as bytes to whoever embeds the server (the Python control plane),
// answered as bytes.
#pragma once

#include <memory>
#include <string>

#include "grpc/grpc_call.h"
#include "grpc/grpc_completions.h"

namespace fastserve {

class AdminCall;

// The way back of one administrative call. Thread safe; the first answer counts, and one that comes
// after the call has ended (or the server is gone) is dropped.
class AdminResponder {
 public:
  AdminResponder(std::shared_ptr<AdminCall> call, std::shared_ptr<GrpcCompletions> completions)
      : call_(std::move(call)), completions_(std::move(completions)) {}
  // `message` is the response's protobuf bytes when `status` is OK.
  void Answer(GrpcStatus status, std::string message);

 private:
  std::shared_ptr<AdminCall> call_;
  std::shared_ptr<GrpcCompletions> completions_;
};

// Implemented by the embedder.
class AdminHandler {
 public:
  virtual ~AdminHandler() = default;
  // `method` is a name of inference.GRPCInferenceService ("ModelMetadata"). Called by I/O threads:
  // must not block.
  virtual void OnAdminCall(std::string_view method, std::string request,
                           std::unique_ptr<AdminResponder> responder) = 0;
};

// The I/O thread's end.
class AdminCall final : public CallState {
 public:
  explicit AdminCall(GrpcCall* call) : call_(call) {}
  void OnCallClosed() override { call_ = nullptr; }
  void Finish(const GrpcStatus& status, std::string message);

 private:
  GrpcCall* call_;
};

// Starts an administrative call.
void StartAdminCall(GrpcCall* call, const BufferView& message, AdminHandler* handler,
                    const std::shared_ptr<GrpcCompletions>& completions);

}  // namespace fastserve
