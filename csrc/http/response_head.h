// Heads of the responses that the core writes itself.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace fastserve {

struct ResponseHead {
  int status = 200;
  std::size_t content_length = 0;
  // Size of the JSON part of a body that mixes JSON and binary tensors (Triton's
  // extension_binary_data.md); 0: all JSON.
  std::size_t json_size = 0;
  bool keep_alive = true;
  int minor_version = 1;  // of the request
};

// "OK", "Bad Request"; "Unknown" for a status the server does not send.
std::string_view HttpReason(int status);

// The status line and fields with the empty line that ends them. RFC 9112 4, 9.3.
std::string BuildResponseHead(const ResponseHead& head);

}  // namespace fastserve
