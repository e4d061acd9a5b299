// The gRPC front end: inference.GRPCInferenceService and grpc.health.v1.Health over HTTP/2, native.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/mutex.h"
#include "base/status.h"
#include "engine/engine.h"
#include "grpc/admin_calls.h"
#include "grpc/grpc_options.h"

namespace fastserve {

class GrpcIoThread;
class GrpcListener;

// Serves from Create until it is destroyed. Thread safe. The engine and the handler must outlive
// it; requests still running in the engine when it is destroyed lose their client.
class GrpcServer {
 public:
  // `admin` may be null. Errors: Unavailable when the port is in use, InvalidArgument for a bad
  // address.
  static Result<std::unique_ptr<GrpcServer>> Create(Engine* engine, AdminHandler* admin,
                                                    GrpcServerOptions options);
  ~GrpcServer();
  GrpcServer(const GrpcServer&) = delete;
  GrpcServer& operator=(const GrpcServer&) = delete;

  // The bound port.
  int port() const { return port_; }
  // No new connections; every open one gets the two GOAWAYs and ends with its last call. Does not
  // block.
  void StopAccepting();
  // Blocks until no connection is left or `timeout_ns` passed. True when none is left.
  bool WaitDrained(std::int64_t timeout_ns);
  std::size_t connections() const;

 private:
  GrpcServer(Engine* engine, AdminHandler* admin, GrpcServerOptions options);
  void Adopt(int fd);
  void OnConnectionRemoved() EXCLUDES(removed_mutex_);

  const GrpcServerOptions options_;
  Mutex removed_mutex_;  // guards nothing: orders a removal before the wait that looks for it
  ConditionVariable removed_;
  std::vector<std::unique_ptr<GrpcIoThread>> threads_;
  std::unique_ptr<GrpcListener> listener_;
  int port_ = 0;
};

}  // namespace fastserve
