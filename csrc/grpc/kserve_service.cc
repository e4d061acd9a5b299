#include "grpc/kserve_service.h"

#include <array>

#include "grpc/health_service.h"
#include "grpc/stream_infer.h"

namespace fastserve {

namespace {

enum MethodId : int {
  kModelInfer,
  kModelStreamInfer,
  kServerLive,
  kServerReady,
  kModelReady,
  kHealthCheck,
  kHealthWatch,
  kAdmin,
};

constexpr std::string_view kInferencePrefix = "/inference.GRPCInferenceService/";
constexpr std::string_view kHealthPrefix = "/grpc.health.v1.Health/";

// The most frequent first: the search is linear.
constexpr std::array<GrpcMethod, 20> kInferenceMethods = {{
    {"ModelInfer", kModelInfer, true},
    {"ModelStreamInfer", kModelStreamInfer, false},
    {"ServerLive", kServerLive, true},
    {"ServerReady", kServerReady, true},
    {"ModelReady", kModelReady, true},
    {"ServerMetadata", kAdmin, true},
    {"ModelMetadata", kAdmin, true},
    {"ModelConfig", kAdmin, true},
    {"ModelStatistics", kAdmin, true},
    {"RepositoryIndex", kAdmin, true},
    {"RepositoryModelLoad", kAdmin, true},
    {"RepositoryModelUnload", kAdmin, true},
    {"SystemSharedMemoryStatus", kAdmin, true},
    {"SystemSharedMemoryRegister", kAdmin, true},
    {"SystemSharedMemoryUnregister", kAdmin, true},
    {"CudaSharedMemoryStatus", kAdmin, true},
    {"CudaSharedMemoryRegister", kAdmin, true},
    {"CudaSharedMemoryUnregister", kAdmin, true},
    {"TraceSetting", kAdmin, true},
    {"LogSettings", kAdmin, true},
}};
constexpr std::array<GrpcMethod, 2> kHealthMethods = {{
    {"Check", kHealthCheck, true},
    {"Watch", kHealthWatch, true},
}};

template <typename Methods>
const GrpcMethod* FindIn(const Methods& methods, std::string_view name) {
  for (const GrpcMethod& method : methods) {
    if (method.name == name) return &method;
  }
  return nullptr;
}

}  // namespace

const GrpcMethod* KserveService::Find(std::string_view path) const {
  if (path.starts_with(kInferencePrefix))
    return FindIn(kInferenceMethods, path.substr(kInferencePrefix.size()));
  if (path.starts_with(kHealthPrefix))
    return FindIn(kHealthMethods, path.substr(kHealthPrefix.size()));
  return nullptr;
}

void KserveService::OnMessage(GrpcCall* call, BufferView message) {
  switch (call->method().id) {
    case kModelInfer:
      return GrpcInferCall::Start(call, message, context_);
    case kModelStreamInfer:
      return StreamInfer::Of(call, context_)->OnMessage(message);
    case kServerLive:
      return AnswerServerLive(call, *context_.engine);
    case kServerReady:
      return AnswerServerReady(call, *context_.engine);
    case kModelReady:
      if (AnswerModelReady(call, message, *context_.engine)) return;
      return StartAdminCall(call, message, context_.admin, context_.completions);
    case kHealthCheck:
      return AnswerHealthCheck(call, *context_.engine);
    case kHealthWatch:
      return HealthWatch::Start(call, *context_.engine);
    default:
      return StartAdminCall(call, message, context_.admin, context_.completions);
  }
}

void KserveService::OnHalfClose(GrpcCall* call) { StreamInfer::Of(call, context_)->OnHalfClose(); }

}  // namespace fastserve
