// The health calls, answered in the core: ServerLive, ServerReady, ModelReady and
// grpc.health.v1.Health.
#pragma once

#include <memory>

#include "engine/engine.h"
#include "grpc/grpc_call.h"

namespace fastserve {

void AnswerServerLive(GrpcCall* call, const Engine& engine);
void AnswerServerReady(GrpcCall* call, const Engine& engine);
// False, without an answer, for a model that has to be asked (Engine::CheckModelReady).
bool AnswerModelReady(GrpcCall* call, const BufferView& message, const Engine& engine);
// Any service name is this server, as in Triton.
void AnswerHealthCheck(GrpcCall* call, const Engine& engine);

// Health.Watch: the status now, and again whenever it has changed; looks once a second.
class HealthWatch final : public CallState {
 public:
  static void Start(GrpcCall* call, const Engine& engine);
  HealthWatch(GrpcCall* call, const Engine& engine);
  void OnCallClosed() override { call_ = nullptr; }

 private:
  void Look();
  GrpcCall* call_;
  const Engine& engine_;
  bool sent_ = false;
  bool was_serving_ = false;
  Timeout timer_;
};

}  // namespace fastserve
