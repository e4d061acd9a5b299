// Texts for answers that are no success.
#include "perf/failure_text.h"

#include <array>
#include <charconv>

namespace fastserve::perf {

namespace {

constexpr std::array<std::string_view, 17> kGrpcStatusNames = {
    "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};
constexpr std::size_t kShownBytes = 300;

std::string HttpFailure(const Exchange& exchange) {
  std::string text = "HTTP " + std::to_string(exchange.http_status);
  if (!exchange.body.kept().empty()) text += ": " + exchange.body.kept().substr(0, kShownBytes);
  return text;
}

std::string GrpcFailure(const Exchange& exchange) {
  if (exchange.grpc_status < 0) {
    if (exchange.http_status != 200) return HttpFailure(exchange);
    return "the answer has no grpc-status";
  }
  std::string text = "gRPC " + std::to_string(exchange.grpc_status);
  const std::string_view name = GrpcStatusName(exchange.grpc_status);
  if (!name.empty()) text.append(" ").append(name);
  if (!exchange.grpc_message.empty())
    text += ": " + DecodeGrpcMessage(exchange.grpc_message).substr(0, kShownBytes);
  return text;
}

}  // namespace

bool IsSuccess(const LoadOptions& options, const Exchange& exchange) {
  const bool http_success = exchange.http_status >= 200 && exchange.http_status < 300;
  if (options.protocol == Protocol::kHttp) return http_success;
  if (exchange.grpc_status < 0) return http_success && options.accept_plain_http2;
  return exchange.grpc_status == 0;
}

std::string FailureText(const LoadOptions& options, const Exchange& exchange) {
  if (!IsSuccess(options, exchange)) {
    return options.protocol == Protocol::kHttp ? HttpFailure(exchange) : GrpcFailure(exchange);
  }
  return exchange.body.matches() ? std::string() : "the answer's bytes are not the expected ones";
}

std::string_view GrpcStatusName(int code) {
  const auto index = static_cast<std::size_t>(code);
  return index < kGrpcStatusNames.size() ? kGrpcStatusNames[index] : std::string_view();
}

std::string DecodeGrpcMessage(std::string_view encoded) {
  std::string text;
  for (std::size_t i = 0; i < encoded.size(); ++i) {
    unsigned value = 0;
    const char* digits = encoded.data() + i + 1;
    const bool escape = encoded[i] == '%' && i + 2 < encoded.size() &&
                        std::from_chars(digits, digits + 2, value, 16).ptr == digits + 2;
    text.push_back(escape ? static_cast<char>(value) : encoded[i]);
    if (escape) i += 2;
  }
  return text;
}

}  // namespace fastserve::perf
