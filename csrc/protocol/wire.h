// Bytes on their way out: small pieces we built, each followed by a view into a tensor, so that no
// tensor byte is copied.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "memory/buffer.h"

namespace fastserve {

struct WirePiece {
  std::string head;
  BufferView tail;  // may be empty
};

// The concatenation of head and tail of each piece, in order.
struct WireMessage {
  std::vector<WirePiece> pieces;
  std::size_t size() const;
  // All bytes in one string (copies tensors): for tests and for peers that do not drain.
  std::string Flatten() const;
};

}  // namespace fastserve
