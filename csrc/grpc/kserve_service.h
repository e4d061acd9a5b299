// The method table: inference.GRPCInferenceService (Triton's grpc_service.proto) and
// grpc.health.v1.Health.
#pragma once

#include "grpc/admin_calls.h"
#include "grpc/grpc_call.h"
#include "grpc/grpc_infer_call.h"

namespace fastserve {

// Sends each call where it is answered. One object per I/O thread.
class KserveService final : public GrpcService {
 public:
  explicit KserveService(ServiceContext context) : context_(std::move(context)) {}

  const GrpcMethod* Find(std::string_view path) const override;
  void OnMessage(GrpcCall* call, BufferView message) override;
  void OnHalfClose(GrpcCall* call) override;

 private:
  const ServiceContext context_;
};

}  // namespace fastserve
