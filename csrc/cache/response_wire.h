// Responses as bytes for a cache outside this process. What comes back may be anybody's: it is
// parsed like a request from a stranger.
//
//   response:  "FSR1" outputs(u32) output* parameters(u32) parameter*
//   output:    name(text) type(u8) rank(u32) dim(i64)* size(u64) bytes
//   parameter: name(text) kind(u8) value; the kinds are those of the variant Parameter:
//              0 bool(u8), 1 int64, 2 uint64, 3 double, 4 text
//   text:      size(u32) bytes
//
// Little-endian, without padding. Another layout gets another first word, and old values are then
// misses.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "base/status.h"
#include "cache/owned_response.h"

namespace fastserve {

// Outputs and parameters. Error: InvalidArgument for an output that does not lie in host memory.
Result<std::string> SerializeResponse(const InferResponse& response);

// Errors: InvalidArgument for anything that SerializeResponse does not write: the tensors of a
// parsed response agree with their data types and shapes. Uses memory in proportion to `bytes`.
Result<CachedResponse> ParseResponse(std::span<const std::byte> bytes);

}  // namespace fastserve
