// ModelInfer: one request of the engine for one unary call.
#pragma once

#include <memory>

#include "engine/engine.h"
#include "grpc/grpc_call.h"
#include "grpc/grpc_completions.h"

namespace fastserve {

// Where the parts of the service find each other. One per I/O thread.
struct ServiceContext {
  Engine* engine = nullptr;
  Lender* lender = nullptr;
  class AdminHandler* admin = nullptr;  // may be null: administrative calls are UNIMPLEMENTED
  std::shared_ptr<GrpcCompletions> completions;
};

// Request, sink and call state in one allocation. The request keeps itself alive while the engine
// has it.
class GrpcInferCall final : public InferRequest, public ResponseSink, public CallState {
 public:
  // Parses `message`, submits it, answers errors at once.
  static void Start(GrpcCall* call, const BufferView& message, const ServiceContext& service);

  GrpcInferCall(GrpcCall* call, std::shared_ptr<GrpcCompletions> completions)
      : call_(call), completions_(std::move(completions)) {}
  void OnResponse(const RequestPtr& request, InferResponse response, bool final) override;
  std::string_view decoupled_refusal() const override {
    return "ModelInfer RPC doesn't support models with decoupled transaction policy";
  }
  void OnCallClosed() override;

 private:
  void Deliver(const InferResponse& response);

  GrpcCall* call_;  // the I/O thread's; null once the call has ended
  std::shared_ptr<GrpcCompletions> completions_;
};

}  // namespace fastserve
