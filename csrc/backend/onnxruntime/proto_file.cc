#include "backend/onnxruntime/proto_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace fastserve {

namespace {

Status CannotRead(const std::string& path, int error) {
  return Status::Unavailable("cannot read '" + path +
                             "': " + std::generic_category().message(error));
}

}  // namespace

Result<ProtoFile> ProtoFile::Open(const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return CannotRead(path, errno);
  struct stat status{};
  const int error =
      fstat(descriptor, &status) != 0 ? errno : (S_ISREG(status.st_mode) ? 0 : EISDIR);
  if (error != 0) {
    close(descriptor);
    return CannotRead(path, error);
  }
  return ProtoFile(descriptor, static_cast<std::uint64_t>(status.st_size));
}

ProtoFile::ProtoFile(ProtoFile&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), size_(other.size_) {}

ProtoFile::~ProtoFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

bool ProtoFile::ReadByte(std::uint64_t offset, std::uint8_t* byte) {
  if (offset < window_begin_ || offset >= window_begin_ + window_size_) {
    const ssize_t count =
        pread(descriptor_, window_.data(), window_.size(), static_cast<off_t>(offset));
    if (count <= 0) return false;
    window_begin_ = offset;
    window_size_ = static_cast<std::size_t>(count);
  }
  *byte = window_[offset - window_begin_];
  return true;
}

bool ProtoFile::ReadString(std::uint64_t offset, std::uint64_t length, std::string* text) {
  if (offset > size_ || length > size_ - offset) return false;
  text->resize(length);
  std::size_t done = 0;
  while (done < length) {
    const ssize_t count =
        pread(descriptor_, text->data() + done, length - done, static_cast<off_t>(offset + done));
    if (count <= 0) return false;
    done += static_cast<std::size_t>(count);
  }
  return true;
}

bool FieldCursor::ReadVarint(std::uint64_t* offset, std::uint64_t* value) {
  *value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    std::uint8_t byte = 0;
    if (*offset >= end_ || !file_->ReadByte(*offset, &byte)) return false;
    ++*offset;
    *value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
    if ((byte & 0x80) == 0) return true;
  }
  return false;
}

bool FieldCursor::ReadPayload(std::uint64_t offset) {
  std::uint64_t length = 0;
  switch (wire_type_) {
    case 0:  // varint
      if (!ReadVarint(&offset, &length)) return false;
      length = 0;
      break;
    case 1:  // 64 bits
      length = 8;
      break;
    case 2:  // length-prefixed
      if (!ReadVarint(&offset, &length)) return false;
      break;
    case 5:  // 32 bits
      length = 4;
      break;
    default:
      return false;
  }
  if (length > end_ - offset) return false;
  payload_begin_ = offset;
  payload_end_ = offset + length;
  return true;
}

bool FieldCursor::Next() {
  if (malformed_ || next_ >= end_) return false;
  std::uint64_t offset = next_;
  std::uint64_t tag = 0;
  malformed_ = true;
  if (!ReadVarint(&offset, &tag) || (tag >> 3) == 0 || (tag >> 3) > 0x1FFFFFFF) return false;
  number_ = static_cast<std::uint32_t>(tag >> 3);
  wire_type_ = static_cast<std::uint32_t>(tag & 7);
  if (!ReadPayload(offset)) return false;
  malformed_ = false;
  next_ = payload_end_;
  return true;
}

}  // namespace fastserve
