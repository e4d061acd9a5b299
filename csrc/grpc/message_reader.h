// DATA bytes -> gRPC messages: the 5-byte prefix, reassembly across frames, size limit,
// decompression. Source: gRPC over HTTP/2, "Length-Prefixed-Message".
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "grpc/compression.h"
#include "grpc/status.h"
#include "memory/buffer.h"
#include "memory/byte_budget.h"

namespace fastserve {

struct MessageLimits {
  std::uint64_t max_message_bytes = 0x7FFFFFFF;
  ByteBudget* budget = nullptr;  // of messages that are still arriving; may be null
};

// Reassembles the messages of one stream. The copy into the message's buffer is the only one; the
// buffer is placed so that the first raw tensor in the message is aligned. Memory is written (and
// so becomes resident) only as bytes arrive; address space beyond kReserveBytes is not taken on the
// word of the prefix. Reused between streams by Reset. Not thread safe.
class MessageReader {
 public:
  enum class Progress : std::uint8_t { kNeedsMore, kMessage, kError };

  MessageReader() = default;
  ~MessageReader() { ReleaseBudget(); }
  MessageReader(const MessageReader&) = delete;
  MessageReader& operator=(const MessageReader&) = delete;

  void Reset(const MessageLimits& limits, MessageEncoding encoding);
  // Consumes from the front of *bytes until a message is complete (kMessage: take it, then call
  // again), everything is consumed (kNeedsMore) or the stream is broken (kError: *error says how;
  // the reader takes no more).
  Progress Read(std::span<const std::byte>* bytes, GrpcStatus* error);
  BufferView TakeMessage();
  // True inside a message or its prefix.
  bool mid_message() const { return prefix_size_ > 0; }

  // Of the message that has begun to arrive.
  std::size_t missing_bytes() const {
    return prefix_size_ == kPrefixBytes ? declared_ - arrived_ : 0;
  }

  static constexpr std::size_t kReserveBytes = std::size_t{64} << 20;

 private:
  static constexpr std::size_t kPrefixBytes = 5;

  bool ReadPrefix(std::span<const std::byte>* bytes);
  GrpcStatus StartMessage();
  GrpcStatus Append(std::span<const std::byte> chunk);
  void CopyIn(std::span<const std::byte> chunk);
  bool EnsureCapacity(std::size_t size);
  void AlignTensor(std::span<const std::byte> known);
  GrpcStatus Finish();
  GrpcStatus FinishCompressed();
  void ReleaseBudget();

  MessageLimits limits_;
  MessageEncoding encoding_ = MessageEncoding::kIdentity;
  std::array<std::byte, kPrefixBytes> prefix_{};
  std::size_t prefix_size_ = 0;
  bool compressed_ = false;
  bool aligned_ = false;
  std::size_t declared_ = 0;  // size in the prefix
  std::size_t arrived_ = 0;   // of declared_
  std::size_t shift_ = 0;     // where the message begins in buffer_
  std::size_t budget_taken_ = 0;
  BufferPtr buffer_;
  BufferView message_;
};

}  // namespace fastserve
