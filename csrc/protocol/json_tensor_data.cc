#include "protocol/json_tensor_data.h"

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>

#include "protocol/input_tensor.h"

namespace fastserve {

namespace {

// What Triton's texts call the JSON kind that a tensor type is read from.
std::string_view JsonKindOf(DataType type) {
  switch (type) {
    case DataType::kBool:
      return "boolean";
    case DataType::kBytes:
      return "string";
    case DataType::kUint8:
    case DataType::kUint16:
    case DataType::kUint32:
    case DataType::kUint64:
      return "unsigned-integer";
    case DataType::kFp32:
    case DataType::kFp64:
      return "number";
    default:
      return "signed-integer";
  }
}

constexpr std::size_t kMaxQuotedText = 40;

std::string Quoted(std::string_view text) {
  std::string quoted = "'" + std::string(text.substr(0, kMaxQuotedText));
  return quoted + (text.size() > kMaxQuotedText ? "...'" : "'");
}

std::string CountMismatch(const std::string& got, std::int64_t expected) {
  return "Shape does not match true shape of 'data' field: expected " + std::to_string(expected) +
         " elements, got " + got;
}

// A decimal too large or too small for T rounds to infinity or zero, as IEEE 754 has it.
template <typename T>
T RoundOutOfRange(std::string_view text) {
  const std::string terminated(text);
  if constexpr (std::is_same_v<T, float>) {
    return std::strtof(terminated.c_str(), nullptr);
  } else {
    return std::strtod(terminated.c_str(), nullptr);
  }
}

}  // namespace

JsonTensorData::Convert JsonTensorData::ConverterOf(DataType type) {
  switch (type) {
    case DataType::kBool:
      return &JsonTensorData::ConvertBool;
    case DataType::kUint8:
      return &JsonTensorData::ConvertInteger<std::uint8_t>;
    case DataType::kUint16:
      return &JsonTensorData::ConvertInteger<std::uint16_t>;
    case DataType::kUint32:
      return &JsonTensorData::ConvertInteger<std::uint32_t>;
    case DataType::kUint64:
      return &JsonTensorData::ConvertInteger<std::uint64_t>;
    case DataType::kInt8:
      return &JsonTensorData::ConvertInteger<std::int8_t>;
    case DataType::kInt16:
      return &JsonTensorData::ConvertInteger<std::int16_t>;
    case DataType::kInt32:
      return &JsonTensorData::ConvertInteger<std::int32_t>;
    case DataType::kInt64:
      return &JsonTensorData::ConvertInteger<std::int64_t>;
    case DataType::kFp32:
      return &JsonTensorData::ConvertFloat<float>;
    case DataType::kFp64:
      return &JsonTensorData::ConvertFloat<double>;
    default:
      return &JsonTensorData::RefuseNumber;
  }
}

Status JsonTensorData::BeginNumbers(DataType type, std::int64_t count, std::size_t text_bytes) {
  type_ = type;
  convert_ = ConverterOf(type);
  // Each element takes a character and all but one of them a comma.
  if (static_cast<std::uint64_t>(count) > text_bytes / 2 + 1) {
    return Status::InvalidArgument(CountMismatch("fewer", count));
  }
  const std::size_t size = static_cast<std::size_t>(count) * DataTypeByteSize(type);
  FASTSERVE_ASSIGN_OR_RETURN(buffer_, AllocateTensor(size));
  next_ = buffer_->data();
  end_ = next_ + size;
  return Status::Ok();
}

void JsonTensorData::BeginBytes() {
  type_ = DataType::kBytes;
  convert_ = &JsonTensorData::RefuseNumber;
  serialized_.clear();
  strings_ = 0;
  next_ = end_ = nullptr;
}

template <typename T>
bool JsonTensorData::Store(T value) {
  std::memcpy(next_, &value, sizeof(value));
  next_ += sizeof(value);
  return true;
}

template <typename T>
bool JsonTensorData::ConvertInteger(std::string_view text) {
  T value{};
  const char* const begin = text.data();
  const char* const end = begin + text.size();
  const auto [stop, code] = std::from_chars(begin, end, value);
  if (code == std::errc() && stop == end) [[likely]]
    return Store(value);
  if (code == std::errc::result_out_of_range) {
    error_ = "value " + Quoted(text) + " is out of range for " + std::string(DataTypeName(type_));
    return false;
  }
  return WrongKind(Quoted(text));
}

template <typename T>
bool JsonTensorData::ConvertFloat(std::string_view text) {
  T value{};
  const char* const begin = text.data();
  const char* const end = begin + text.size();
  const auto [stop, code] = std::from_chars(begin, end, value);
  if (code == std::errc::result_out_of_range) return Store(RoundOutOfRange<T>(text));
  if (code == std::errc() && stop == end) [[likely]]
    return Store(value);
  return WrongKind(Quoted(text));
}

bool JsonTensorData::ConvertBool(std::string_view text) {
  if (text == "0" || text == "1") return Store(static_cast<std::uint8_t>(text == "1"));
  return WrongKind(Quoted(text));
}

bool JsonTensorData::RefuseNumber(std::string_view text) {
  return type_ == DataType::kBytes ? WrongKind(Quoted(text)) : TooMany();
}

bool JsonTensorData::AddBool(bool value) {
  if (type_ != DataType::kBool) return WrongKind(value ? "true" : "false");
  if (next_ == end_) return TooMany();
  return Store(static_cast<std::uint8_t>(value));
}

bool JsonTensorData::AddString(std::string_view text) {
  if (type_ != DataType::kBytes) return WrongKind("a string");
  AppendBytesElement(text, &serialized_);
  ++strings_;
  return true;
}

bool JsonTensorData::AddOther() { return WrongKind("null or an object"); }

bool JsonTensorData::WrongKind(std::string_view got) {
  const std::string kind(JsonKindOf(type_));
  error_ = "attempt to access JSON non-" + kind + " as " + kind + " (" +
           std::string(DataTypeName(type_)) + " element is " + std::string(got) + ")";
  return false;
}

bool JsonTensorData::TooMany() {
  const auto count = static_cast<std::int64_t>(buffer_->size() / DataTypeByteSize(type_));
  error_ = CountMismatch("more", count);
  return false;
}

Status JsonTensorData::Finish(std::int64_t count, Tensor* tensor) {
  if (tensor->type != type_) {
    // Strings came before the data type.
    type_ = tensor->type;
    WrongKind("a string");
    return Status::InvalidArgument(error_);
  }
  if (type_ == DataType::kBytes) {
    if (strings_ != count)
      return Status::InvalidArgument(CountMismatch(std::to_string(strings_), count));
    auto holder = std::make_shared<std::string>(std::move(serialized_));
    tensor->data = BufferView(WrapHostBuffer(holder->data(), holder->size(), [holder] {}));
    return Status::Ok();
  }
  if (next_ != end_) {
    const auto got = static_cast<std::size_t>(next_ - buffer_->data()) / DataTypeByteSize(type_);
    return Status::InvalidArgument(CountMismatch(std::to_string(got), count));
  }
  tensor->data = BufferView(std::move(buffer_));
  return Status::Ok();
}

}  // namespace fastserve
