// The DATA bytes of one stream that HTTP/2 flow control has not let go yet: small built pieces and
// views into tensors.
#pragma once

#include <cstddef>
#include <vector>

#include "grpc/write_queue.h"
#include "protocol/wire.h"

namespace fastserve {

// A queue of wire pieces. Not thread safe. Reused between streams: Clear keeps the capacity.
class OutgoingBody {
 public:
  void Append(WirePiece piece);
  // `prefix` (5 bytes of framing), then the pieces of `message`.
  void AppendMessage(std::string prefix, WireMessage message);
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  // Moves the first `count` bytes (count <= size()) to `queue`: small runs copied, large tensor
  // runs as views.
  void MoveTo(WriteQueue* queue, std::size_t count);
  // Replaces views into tensors by copies, so that a batch's output buffer need not wait for a slow
  // peer.
  void CopyOut();
  void Clear();

 private:
  std::vector<WirePiece> pieces_;
  std::size_t first_ = 0;   // index of the first piece not wholly moved
  std::size_t offset_ = 0;  // bytes of that piece moved already
  std::size_t size_ = 0;
  bool has_views_ = false;
};

}  // namespace fastserve
