// A gRPC server that answers every call of a method with the same bytes: the bound that a real
// server is held against, and the peer of the load generator's own tests.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "base/status.h"
#include "perf/socket.h"

namespace fastserve::perf {

struct CannedReply {
  std::string message = {};
  int grpc_status = 0;
  std::string grpc_message = {};
  bool never = false;  // accept the call and do not answer
  bool reset = false;  // reset the stream
};

// Purpose: serves `replies` (by path, "/package.Service/Method") from one thread on loopback until
// destroyed. Unknown paths are answered with UNIMPLEMENTED. Thread safe after Start.
class CannedGrpcServer {
 public:
  // `port` 0 takes a free one. Errors: Unavailable when the port cannot be had.
  static Result<std::unique_ptr<CannedGrpcServer>> Start(std::map<std::string, CannedReply> replies,
                                                         int port);
  ~CannedGrpcServer();

  int port() const { return port_; }

 private:
  CannedGrpcServer() = default;
  void Run();
  void Accept();

  class Session;
  std::map<std::string, CannedReply> replies_;
  FileDescriptor listener_;
  FileDescriptor epoll_;
  FileDescriptor stop_;
  int port_ = 0;
  std::map<int, std::unique_ptr<Session>> sessions_;  // by descriptor; used by the thread only
  std::thread thread_;
};

}  // namespace fastserve::perf
