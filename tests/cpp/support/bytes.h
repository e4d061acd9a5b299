// Text as bytes, for tests.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace fastserve {

// A view into `text`.
inline std::span<const std::byte> BytesOf(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace fastserve
