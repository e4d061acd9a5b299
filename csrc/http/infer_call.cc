#include "http/infer_call.h"

#include <charconv>
#include <string>

namespace fastserve {

Result<std::size_t> InferJsonSize(std::optional<std::string_view> header, std::uint64_t body_size) {
  if (!header) return static_cast<std::size_t>(body_size);
  const char* const begin = header->data();
  const char* const end = begin + header->size();
  std::int64_t value = 0;
  const auto [parsed_end, error] = std::from_chars(begin, end, value);
  if (error == std::errc::invalid_argument || parsed_end != end) {
    return Status::InvalidArgument("Unable to parse Inference-Header-Content-Length, got: " +
                                   std::string(*header));
  }
  if (error != std::errc() || value < 0 || static_cast<std::uint64_t>(value) > body_size) {
    return Status::InvalidArgument("inference request header size should be in range (0, " +
                                   std::to_string(body_size) + "], got: " + std::string(*header));
  }
  return static_cast<std::size_t>(value);
}

InferReply ErrorReply(int http_status, std::string_view message) {
  InferReply reply;
  reply.status = http_status;
  reply.body.pieces.push_back({ErrorJson(message), {}});
  return reply;
}

InferReply ErrorReply(const Status& status) {
  return ErrorReply(HttpStatus(status.code()), status.message());
}

}  // namespace fastserve
