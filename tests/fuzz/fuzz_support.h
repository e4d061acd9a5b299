// What the fuzz targets share.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "memory/buffer.h"

namespace fastserve {

// A heap block of exactly this size: AddressSanitizer sees the first byte read or written beyond
// it.
inline BufferView ExactCopy(const std::uint8_t* data, std::size_t size) {
  auto* bytes = static_cast<std::uint8_t*>(std::malloc(size == 0 ? 1 : size));
  if (size != 0) std::memcpy(bytes, data, size);
  return BufferView(WrapHostBuffer(bytes, size, [bytes] { std::free(bytes); }));
}

// Ends the run: the input broke a promise of the code under test.
#define FUZZ_CHECK(condition)                                                      \
  do {                                                                             \
    if (!(condition)) {                                                            \
      std::fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                \
    }                                                                              \
  } while (false)

}  // namespace fastserve
