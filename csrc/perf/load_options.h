// What a load generator is asked to do. Requests arrive serialised, so that sending costs no
// formatting.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace fastserve::perf {

enum class Protocol : std::uint8_t { kHttp, kGrpc };
enum class Arrival : std::uint8_t { kClosedLoop, kConstantRate, kPoissonRate };

struct PreparedRequest {
  // HTTP: the request as it goes over the wire, head and body. gRPC: the protobuf message (without
  // its length prefix).
  std::string bytes;
  // The answer's body (gRPC: its message) if it is to be compared byte for byte.
  std::optional<std::string> expected;
};
using PreparedRequests = std::vector<PreparedRequest>;

struct LoadOptions {
  Protocol protocol = Protocol::kHttp;
  std::string host;
  std::string port;
  std::string grpc_path;                                           // "/package.Service/Method"
  std::vector<std::pair<std::string, std::string>> grpc_metadata;  // lower-case names
  bool accept_plain_http2 =
      false;  // :status 200 without grpc-status is a success: for bounds such as nghttpd
  std::shared_ptr<const PreparedRequests> requests;  // sent in turn; at least one

  int threads = 1;
  Arrival arrival = Arrival::kClosedLoop;
  int concurrency = 1;      // closed loop: requests in flight; open loop: the most that may be
  double request_rate = 0;  // open loop: requests a second, all threads together
  int connections = 1;      // to open at first, all threads together
  int max_connections = 1;  // open loop over HTTP opens more when none is free
  std::int64_t max_requests = 0;        // stop after so many; 0 is no limit
  std::uint64_t seed = 1;               // of Poisson intervals and of abandoning
  std::int64_t request_timeout_ns = 0;  // 0 is none

  // Soak tests: this share of the requests is given up (HTTP closes the connection, gRPC resets the
  // stream) after a random time up to abandon_within_ns.
  double abandon_fraction = 0;
  std::int64_t abandon_within_ns = 0;
};

}  // namespace fastserve::perf
