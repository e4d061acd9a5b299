// Walks the fields of a protobuf message inside a file, reading headers only: a payload is an
// offset and a length until somebody asks for it. Source:
// https://protobuf.dev/programming-guides/encoding/
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/status.h"

namespace fastserve {

// A file read in small windows. Not thread safe.
class ProtoFile {
 public:
  // Errors: Unavailable with the system's reason.
  static Result<ProtoFile> Open(const std::string& path);
  ProtoFile(ProtoFile&& other) noexcept;
  ProtoFile& operator=(ProtoFile&&) = delete;
  ~ProtoFile();

  std::uint64_t size() const { return size_; }
  // One byte; false past the end or when the file cannot be read.
  bool ReadByte(std::uint64_t offset, std::uint8_t* byte);
  // False when the bytes are not all there.
  bool ReadString(std::uint64_t offset, std::uint64_t length, std::string* text);

 private:
  explicit ProtoFile(int descriptor, std::uint64_t size) : descriptor_(descriptor), size_(size) {}

  int descriptor_;
  std::uint64_t size_;
  std::array<std::uint8_t, 4096> window_;
  std::uint64_t window_begin_ = 0;
  std::size_t window_size_ = 0;
};

// The fields of the message at [begin, end) of a file, one after the other. The file must outlive
// the cursor.
class FieldCursor {
 public:
  FieldCursor(ProtoFile* file, std::uint64_t begin, std::uint64_t end)
      : file_(file), next_(begin), end_(end) {}

  // Steps to the next field. False at the end of the message, and when it is malformed.
  bool Next();
  bool malformed() const { return malformed_; }
  // Where the next field starts; after a failure, where the malformed one does.
  std::uint64_t position() const { return next_; }

  std::uint32_t number() const { return number_; }
  bool is_message() const { return wire_type_ == 2; }
  // Of a field of wire type 2: its payload.
  std::uint64_t begin() const { return payload_begin_; }
  std::uint64_t end() const { return payload_end_; }
  std::uint64_t size() const { return payload_end_ - payload_begin_; }

 private:
  bool ReadVarint(std::uint64_t* offset, std::uint64_t* value);
  bool ReadPayload(std::uint64_t offset);

  ProtoFile* file_;
  std::uint64_t next_;
  std::uint64_t end_;
  std::uint32_t number_ = 0;
  std::uint32_t wire_type_ = 0;
  std::uint64_t payload_begin_ = 0;
  std::uint64_t payload_end_ = 0;
  bool malformed_ = false;
};

}  // namespace fastserve
