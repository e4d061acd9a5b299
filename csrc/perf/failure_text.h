// What an answer says: success, or the text that the report shows.
#pragma once

#include <string>
#include <string_view>

#include "perf/connection.h"

namespace fastserve::perf {

// The server reported success (the bytes may still not be the expected ones).
bool IsSuccess(const LoadOptions& options, const Exchange& exchange);

// Empty for a success with the expected bytes; else for example `HTTP 404: {"error":"..."}`.
std::string FailureText(const LoadOptions& options, const Exchange& exchange);

// The name of a gRPC status code, such as "INVALID_ARGUMENT".
std::string_view GrpcStatusName(int code);

// Text of a grpc-message header (percent-encoded UTF-8).
std::string DecodeGrpcMessage(std::string_view encoded);

}  // namespace fastserve::perf
