// What the command line decides about the gRPC front end.
#pragma once

#include <cstddef>
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
  // A peer that takes nothing while more than this waits for it gets no new calls.
  std::size_t stalled_bytes = std::size_t{64} << 20;
  Http2Options http2;
};

}  // namespace fastserve
