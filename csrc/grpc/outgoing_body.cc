#include "grpc/outgoing_body.h"

#include <algorithm>

namespace fastserve {

void OutgoingBody::Append(WirePiece piece) {
  size_ += piece.head.size() + piece.tail.size;
  has_views_ = has_views_ || piece.tail.size > 0;
  pieces_.push_back(std::move(piece));
}

void OutgoingBody::AppendMessage(std::string prefix, WireMessage message) {
  Append({std::move(prefix), {}});
  for (WirePiece& piece : message.pieces) Append(std::move(piece));
}

void OutgoingBody::MoveTo(WriteQueue* queue, std::size_t count) {
  size_ -= count;
  while (count > 0) {
    WirePiece& piece = pieces_[first_];
    const std::size_t head_left = piece.head.size() - std::min(offset_, piece.head.size());
    if (head_left > 0) {
      const std::size_t take = std::min(count, head_left);
      queue->AppendCopy(piece.head.data() + offset_, take);
      offset_ += take;
      count -= take;
    }
    const std::size_t tail_offset = offset_ - std::min(offset_, piece.head.size());
    const std::size_t tail_take = std::min(count, piece.tail.size - tail_offset);
    if (tail_take > 0 && offset_ >= piece.head.size()) {
      queue->AppendView(piece.tail.Slice(tail_offset, tail_take));
      offset_ += tail_take;
      count -= tail_take;
    }
    if (offset_ == piece.head.size() + piece.tail.size) {
      piece = {};
      ++first_;
      offset_ = 0;
    }
  }
  if (size_ == 0) Clear();
}

void OutgoingBody::CopyOut() {
  if (!has_views_) return;
  for (std::size_t i = first_; i < pieces_.size(); ++i) {
    WirePiece& piece = pieces_[i];
    if (piece.tail.size == 0) continue;
    CountCopiedBytes(piece.tail.size);
    piece.head.append(reinterpret_cast<const char*>(piece.tail.data), piece.tail.size);
    piece.tail = {};
  }
  has_views_ = false;
}

void OutgoingBody::Clear() {
  pieces_.clear();
  first_ = 0;
  offset_ = 0;
  size_ = 0;
  has_views_ = false;
}

}  // namespace fastserve
