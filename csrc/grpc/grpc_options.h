// What the command line decides about the gRPC front end.
#pragma once

#include <cstdint>
#include <string>

#include "grpc/compression.h"
#include "grpc/http2_session.h"
#include "grpc/keepalive.h"

namespace fastserve {

struct GrpcServerOptions {
  std::string address = "0.0.0.0";
  int port = 8001;  // 0: any free port
  int thread_count = 2;
  bool reuse_port = false;
  KeepAliveOptions keepalive;
  std::int64_t max_connection_age_ms = 0;        // 0: no limit
  std::int64_t max_connection_age_grace_ms = 0;  // 0: no limit
  CompressionLevel response_compression = CompressionLevel::kNone;
  std::uint64_t max_message_bytes = 0x7FFFFFFF;
  Http2Options http2;
};

}  // namespace fastserve
