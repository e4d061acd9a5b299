// Message encodings of gRPC: identity, gzip and deflate (zlib format), bounded in what they expand
// to. Source: gRPC "Compression"; RFC 1950, RFC 1952.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"
#include "protocol/wire.h"

namespace fastserve {

enum class MessageEncoding : std::uint8_t { kIdentity, kGzip, kDeflate, kUnsupported };
// --grpc-infer-response-compression-level
enum class CompressionLevel : std::uint8_t { kNone, kLow, kMedium, kHigh };

inline constexpr std::string_view kAcceptedEncodings = "identity, deflate, gzip";

MessageEncoding ParseEncoding(std::string_view name);
// "gzip"; static.
std::string_view EncodingName(MessageEncoding encoding);

// Expands a gzip or deflate message into *output. Allocates no more than grows with what it really
// expands to. Errors: InvalidArgument when the bytes are no complete message of this encoding,
// Unavailable ("larger than max") when it would expand beyond `limit`.
Status Decompress(MessageEncoding encoding, std::span<const std::byte> input, std::size_t limit,
                  std::string* output);

// Compresses a message as gzip or deflate. `level` is not kNone.
std::string Compress(MessageEncoding encoding, CompressionLevel level, const WireMessage& message);

}  // namespace fastserve
