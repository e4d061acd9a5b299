// What fastserve reads from a request's headers, and the small grammars inside them: grpc-timeout,
// `-bin` base64, content type, encodings. Source: gRPC over HTTP/2 ("Requests", "Custom-Metadata").
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "grpc/compression.h"

namespace fastserve {

// "100m" -> 100,000,000. At most 8 digits and a unit of H M S m u n; nullopt when malformed.
// Saturates at INT64_MAX.
std::optional<std::int64_t> ParseGrpcTimeout(std::string_view text);

// Base64 with or without padding, as peers send `-bin` values; nullopt when malformed.
std::optional<std::string> DecodeBase64(std::string_view text);
// Base64 without padding, as gRPC asks senders to write it.
std::string EncodeBase64(std::string_view bytes);

// The header fields of one request, added one by one in any order. Reused between requests: Clear
// keeps the capacity.
struct RequestHead {
  enum class ContentType : std::uint8_t { kMissing, kGrpc, kOther };

  std::string path;
  bool is_post = false;
  ContentType content_type = ContentType::kMissing;
  std::optional<std::int64_t> timeout_ns;
  MessageEncoding encoding = MessageEncoding::kIdentity;
  std::string encoding_name;  // only when unsupported
  bool accepts_gzip = false;
  bool accepts_deflate = false;
  bool triton_grpc_error = false;
  std::string malformed;       // the name of a header whose value breaks its grammar
  std::size_t list_bytes = 0;  // as SETTINGS_MAX_HEADER_LIST_SIZE counts: name + value + 32 each

  void Add(std::string_view name, std::string_view value);
  void Clear();

 private:
  void AddGrpcHeader(std::string_view name, std::string_view value);
};

}  // namespace fastserve
