// gRPC status codes and their form on the wire: the number, and the message percent-encoded.
// Source: gRPC over HTTP/2 ("Responses", "Percent-Encoded"), gRPC "Status codes and their use in
// gRPC".
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace fastserve {

enum class GrpcStatusCode : int {
  kOk = 0,
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kResourceExhausted = 8,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
};

// How a call ends. OK with an empty message by default.
struct GrpcStatus {
  GrpcStatusCode code = GrpcStatusCode::kOk;
  std::string message;

  bool ok() const { return code == GrpcStatusCode::kOk; }
  static GrpcStatus From(const Status& status);
};

// The decimal text of a code, static; codes outside 0..16 read as UNKNOWN.
std::string_view GrpcStatusText(GrpcStatusCode code);

// Bytes 0x20..0x7E except '%' stay, every other byte becomes %XX.
std::string PercentEncode(std::string_view text);
// The inverse; an incomplete or malformed escape stays as it is.
std::string PercentDecode(std::string_view text);

}  // namespace fastserve
