// The packets of docs/design/005-python-backend.md as bytes: kinds, header, a writer and a reader
// that trusts nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "base/status.h"
#include "inference/shape.h"

namespace fastserve {

enum class PacketKind : std::uint16_t {
  kSegment = 1,
  kDropSegment = 2,
  kRelease = 3,
  kInitialize = 4,
  kInitialized = 5,
  kExecute = 6,
  kResponses = 7,
  kResponse = 8,
  kExecuted = 9,
  kCancel = 10,
  kFinalize = 11,
  kCheckReady = 12,
  kReady = 13,
  kLog = 14,
  kLogSettings = 15,
  kBlsRequest = 16,
  kBlsResponse = 17,
  kBlsCancel = 18,
  kCall = 19,
  kReturn = 20,
  kHold = 22,
  kGoOn = 23,
  kBlsTaken = 24,
};

inline constexpr std::uint16_t kOutOfLine = 1;           // a flag of the header
inline constexpr std::size_t kLargestInline = 65536;     // larger bodies go out of line
inline constexpr std::size_t kBlockAlignment = 64;       // of the offsets of blocks and tensors
inline constexpr std::uint32_t kPeerSegment = 1U << 31;  // set in the ids that the worker gives
inline constexpr std::uint32_t kSequenceStart = 1;       // flags of a request
inline constexpr std::uint32_t kSequenceEnd = 2;

// The bytes that a tensor of `size` bytes takes of a block: the next one begins aligned.
constexpr std::size_t PlacedSize(std::size_t size) {
  return (size + kBlockAlignment - 1) / kBlockAlignment * kBlockAlignment;
}

// What a packet that breaks the protocol is answered with: the worker is then ended.
inline Status Broken(std::string what) { return Status::InvalidArgument(std::move(what)); }

// The fixed head of a packet; little-endian and packed on the wire.
struct PacketHeader {
  static constexpr std::size_t kSize = 24;

  PacketKind kind = PacketKind::kRelease;
  std::uint16_t flags = 0;
  std::uint32_t segment = 0;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

// A block, or a part of it, in the terms of the wire.
struct BlockRange {
  std::uint32_t segment = 0;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

// Appends to a string that the caller reuses. The machine is little-endian. Not thread safe.
class PacketWriter {
 public:
  explicit PacketWriter(std::string* out) : out_(*out) {}

  template <typename T>
  void Number(std::type_identity_t<T> value) {
    static_assert(std::is_integral_v<T>);
    out_.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  void U8(std::uint8_t value) { Number<std::uint8_t>(value); }
  void U16(std::uint16_t value) { Number<std::uint16_t>(value); }
  void U32(std::uint32_t value) { Number<std::uint32_t>(value); }
  void U64(std::uint64_t value) { Number<std::uint64_t>(value); }
  void I64(std::int64_t value) { Number<std::int64_t>(value); }
  void Text(std::string_view text) {
    U32(static_cast<std::uint32_t>(text.size()));
    out_.append(text);
  }
  void Raw(std::string_view bytes) { out_.append(bytes); }
  void Dims(const Shape& shape) {
    U8(static_cast<std::uint8_t>(shape.size()));
    for (const std::int64_t dim : shape) I64(dim);
  }
  void Range(const BlockRange& range) {
    U32(range.segment);
    U64(range.offset);
    U64(range.length);
  }

 private:
  std::string& out_;
};

// Reads a body from its front. A read past the end yields zeros, and ok() is false from then on:
// loops over a count that was read ask ok(). Texts are views into the body. Not thread safe.
class PacketReader {
 public:
  explicit PacketReader(std::string_view body) : left_(body) {}

  bool ok() const { return ok_; }
  bool at_end() const { return left_.empty(); }
  std::string_view rest() const { return left_; }

  template <typename T>
  T Number() {
    static_assert(std::is_integral_v<T>);
    T value{};
    const std::string_view bytes = Take(sizeof(T));
    if (ok_) std::memcpy(&value, bytes.data(), bytes.size());
    return value;
  }
  std::uint8_t U8() { return Number<std::uint8_t>(); }
  std::uint16_t U16() { return Number<std::uint16_t>(); }
  std::uint32_t U32() { return Number<std::uint32_t>(); }
  std::uint64_t U64() { return Number<std::uint64_t>(); }
  std::int64_t I64() { return Number<std::int64_t>(); }
  std::string_view Text() { return Take(U32()); }
  Shape Dims();
  BlockRange Range();

 private:
  std::string_view Take(std::size_t size);

  std::string_view left_;
  bool ok_ = true;
};

std::array<char, PacketHeader::kSize> EncodeHeader(const PacketHeader& header);
// False when `packet` is shorter than a header.
bool ReadHeader(std::string_view packet, PacketHeader* header);

}  // namespace fastserve
