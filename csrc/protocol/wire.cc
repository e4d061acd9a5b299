#include "protocol/wire.h"

namespace fastserve {

std::size_t WireMessage::size() const {
  std::size_t total = 0;
  for (const WirePiece& piece : pieces) total += piece.head.size() + piece.tail.size;
  return total;
}

std::string WireMessage::Flatten() const {
  std::string bytes;
  bytes.reserve(size());
  for (const WirePiece& piece : pieces) {
    bytes += piece.head;
    if (piece.tail.size != 0) {
      bytes.append(reinterpret_cast<const char*>(piece.tail.data), piece.tail.size);
    }
  }
  return bytes;
}

}  // namespace fastserve
