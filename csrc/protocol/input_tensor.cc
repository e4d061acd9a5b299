#include "protocol/input_tensor.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <string>
#include <utility>

namespace fastserve {

namespace {

// Length of the UTF-8 sequence that starts with `lead`, 0 when nothing valid does (RFC 3629, table
// of section 4).
std::size_t SequenceLength(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return 2;
  if (lead >= 0xE0 && lead <= 0xEF) return 3;
  if (lead >= 0xF0 && lead <= 0xF4) return 4;
  return 0;
}

// Overlong forms, surrogates and values above U+10FFFF show in the second byte.
bool IsSecondByteInRange(unsigned char lead, unsigned char second) {
  switch (lead) {
    case 0xE0:
      return second >= 0xA0 && second <= 0xBF;
    case 0xED:
      return second >= 0x80 && second <= 0x9F;
    case 0xF0:
      return second >= 0x90 && second <= 0xBF;
    case 0xF4:
      return second >= 0x80 && second <= 0x8F;
    default:
      return second >= 0x80 && second <= 0xBF;
  }
}

bool IsValidSequence(std::string_view sequence) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(sequence[i]); };
  if (sequence.size() > 1 && !IsSecondByteInRange(byte(0), byte(1))) return false;
  for (std::size_t i = 2; i < sequence.size(); ++i) {
    if ((byte(i) & 0xC0) != 0x80) return false;
  }
  return true;
}

// Of the sequence that a text begins with; 0: that is none.
std::size_t ValidLength(std::string_view text) {
  const std::size_t length = SequenceLength(static_cast<unsigned char>(text.front()));
  const bool is_whole = length != 0 && length <= text.size();
  return is_whole && IsValidSequence(text.substr(0, length)) ? length : 0;
}

}  // namespace

Result<DataType> ParseInputDataType(std::string_view datatype, std::string_view input_name) {
  const auto type = ParseDataType(datatype);
  if (!type.has_value() || DataTypeName(*type) != datatype) {
    return Status::InvalidArgument("invalid datatype for input " + std::string(input_name) + ": '" +
                                   std::string(datatype) + "'");
  }
  return *type;
}

Result<std::int64_t> InputElementCount(const Tensor& input) {
  const std::span dims(input.shape.data(), input.shape.size());
  const auto count = ElementCount(dims);
  if (!count.has_value()) {
    return Status::InvalidArgument(
        "input '" + input.name + "' has shape " + ShapeToString(dims) +
        ": dimensions must not be negative and their product must fit in 63 bits");
  }
  return *count;
}

Result<BufferPtr> AllocateTensor(std::size_t size) {
  BufferPtr buffer = AllocateHostBuffer(size);
  if (buffer == nullptr) {
    return Status::Unavailable("failed to allocate " + std::to_string(size) +
                               " bytes for an input tensor");
  }
  return buffer;
}

Result<BufferView> AlignedForType(BufferView bytes, DataType type) {
  const std::size_t element_size = DataTypeByteSize(type);
  if (element_size <= 1 || bytes.size == 0 ||
      reinterpret_cast<std::uintptr_t>(bytes.data) % element_size == 0) {
    return bytes;
  }
  FASTSERVE_ASSIGN_OR_RETURN(BufferPtr copy, AllocateTensor(bytes.size));
  std::memcpy(copy->data(), bytes.data, bytes.size);
  CountCopiedBytes(bytes.size);
  return BufferView(std::move(copy));
}

Status JsonTooLarge(std::size_t size, std::size_t limit) {
  return Status::InvalidArgument("request JSON size of " + std::to_string(size) +
                                 " bytes exceeds the maximum allowed input size of " +
                                 std::to_string(limit) +
                                 " bytes. Use --http-max-input-size to increase the limit.");
}

bool IsValidUtf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = ValidLength(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

std::string ReadableText(std::string_view text) {
  std::string readable;
  readable.reserve(text.size());
  while (!text.empty()) {
    const std::size_t length = ValidLength(text);
    readable.append(length == 0 ? "?" : text.substr(0, length));
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return readable;
}

}  // namespace fastserve
