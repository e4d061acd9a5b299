#include "protocol/json_writer.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstring>
#include <type_traits>

namespace fastserve {

namespace {

// The character after the backslash; 'u' for \u00XX, 0 for what needs no escape.
constexpr std::array<char, 256> MakeEscapes() {
  std::array<char, 256> escapes{};
  for (int i = 0; i < 0x20; ++i) escapes[static_cast<std::size_t>(i)] = 'u';
  escapes['\b'] = 'b';
  escapes['\f'] = 'f';
  escapes['\n'] = 'n';
  escapes['\r'] = 'r';
  escapes['\t'] = 't';
  escapes['"'] = '"';
  escapes['\\'] = '\\';
  return escapes;
}
constexpr std::array<char, 256> kEscapes = MakeEscapes();

void AppendEscape(char c, char escape, std::string* out) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  out->push_back('\\');
  out->push_back(escape);
  if (escape != 'u') return;
  const auto byte = static_cast<unsigned char>(c);
  out->append("00");
  out->push_back(kHex[byte >> 4U]);
  out->push_back(kHex[byte & 0xFU]);
}

// The longest text of any number, with a comma: -2.2250738585072014e-308,
constexpr std::size_t kMaxNumberText = 32;

char* Copy(std::string_view text, char* out) {
  std::memcpy(out, text.data(), text.size());
  return out + text.size();
}

template <typename T>
char* WriteNumber(T value, char* out) {
  if constexpr (std::is_floating_point_v<T>) {
    if (!std::isfinite(value))
      return Copy(std::isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity", out);
    char* const end = std::to_chars(out, out + kMaxNumberText, value).ptr;
    // A whole number stays recognisable as floating point.
    const bool whole =
        std::string_view(out, static_cast<std::size_t>(end - out)).find_first_of(".e") ==
        std::string_view::npos;
    return whole ? Copy(".0", end) : end;
  } else {
    return std::to_chars(out, out + kMaxNumberText, value).ptr;
  }
}

template <typename T>
void AppendNumber(T value, std::string* out) {
  std::array<char, kMaxNumberText> text;
  out->append(text.data(), static_cast<std::size_t>(WriteNumber(value, text.data()) - text.data()));
}

// Grows the text by whole blocks, so that the inner loop writes without checks.
template <typename T>
void AppendElements(const std::byte* data, std::size_t count, std::string* out) {
  constexpr std::size_t kBlock = 64;
  for (std::size_t first = 0; first < count; first += kBlock) {
    const std::size_t last = std::min(count, first + kBlock);
    const std::size_t used = out->size();
    out->resize(used + (last - first) * kMaxNumberText);
    char* const begin = out->data() + used;
    char* position = begin;
    for (std::size_t i = first; i < last; ++i) {
      T value;
      std::memcpy(&value, data + i * sizeof(T), sizeof(T));
      position = WriteNumber(value, position);
      *position++ = ',';
    }
    out->resize(used + static_cast<std::size_t>(position - begin));
  }
  if (count != 0) out->pop_back();
}

void AppendBools(const std::byte* data, std::size_t count, std::string* out) {
  for (std::size_t i = 0; i < count; ++i) {
    if (i != 0) out->push_back(',');
    out->append(data[i] != std::byte{0} ? "true" : "false");
  }
}

// False when the serialised elements are not exactly `count`.
bool AppendStrings(const BufferView& data, std::size_t count, std::string* out) {
  std::size_t offset = 0;
  for (std::size_t i = 0; i < count; ++i) {
    std::uint32_t length = 0;
    if (data.size - offset < sizeof(length)) return false;
    std::memcpy(&length, data.data + offset, sizeof(length));
    offset += sizeof(length);
    if (data.size - offset < length) return false;
    if (i != 0) out->push_back(',');
    AppendJsonString({reinterpret_cast<const char*>(data.data) + offset, length}, out);
    offset += length;
  }
  return offset == data.size;
}

void AppendFixed(DataType type, const std::byte* data, std::size_t count, std::string* out) {
  switch (type) {
    case DataType::kBool:
      return AppendBools(data, count, out);
    case DataType::kUint8:
      return AppendElements<std::uint8_t>(data, count, out);
    case DataType::kUint16:
      return AppendElements<std::uint16_t>(data, count, out);
    case DataType::kUint32:
      return AppendElements<std::uint32_t>(data, count, out);
    case DataType::kUint64:
      return AppendElements<std::uint64_t>(data, count, out);
    case DataType::kInt8:
      return AppendElements<std::int8_t>(data, count, out);
    case DataType::kInt16:
      return AppendElements<std::int16_t>(data, count, out);
    case DataType::kInt32:
      return AppendElements<std::int32_t>(data, count, out);
    case DataType::kInt64:
      return AppendElements<std::int64_t>(data, count, out);
    case DataType::kFp32:
      return AppendElements<float>(data, count, out);
    default:
      return AppendElements<double>(data, count, out);
  }
}

Status SizeMismatch(const Tensor& tensor) {
  return Status::Internal("output tensor shape does not match size of output for '" + tensor.name +
                          "'");
}

}  // namespace

void AppendJsonString(std::string_view text, std::string* out) {
  out->push_back('"');
  std::size_t plain = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char escape = kEscapes[static_cast<unsigned char>(text[i])];
    if (escape == 0) [[likely]]
      continue;
    out->append(text.substr(plain, i - plain));
    AppendEscape(text[i], escape, out);
    plain = i + 1;
  }
  out->append(text.substr(plain));
  out->push_back('"');
}

void AppendJsonInteger(std::int64_t value, std::string* out) { AppendNumber(value, out); }
void AppendJsonInteger(std::uint64_t value, std::string* out) { AppendNumber(value, out); }
void AppendJsonDouble(double value, std::string* out) { AppendNumber(value, out); }

void AppendJsonShape(std::span<const std::int64_t> shape, std::string* out) {
  out->push_back('[');
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i != 0) out->push_back(',');
    AppendNumber(shape[i], out);
  }
  out->push_back(']');
}

void AppendJsonParameters(const Parameters& parameters, std::string* out) {
  struct Visitor {
    std::string* out;
    void operator()(bool value) const { out->append(value ? "true" : "false"); }
    void operator()(std::int64_t value) const { AppendNumber(value, out); }
    void operator()(std::uint64_t value) const { AppendNumber(value, out); }
    void operator()(double value) const { AppendNumber(value, out); }
    void operator()(const std::string& value) const { AppendJsonString(value, out); }
  };
  char separator = '{';
  for (const auto& [key, value] : parameters) {
    out->push_back(separator);
    AppendJsonString(key, out);
    out->push_back(':');
    std::visit(Visitor{out}, value);
    separator = ',';
  }
  if (parameters.empty()) out->push_back('{');
  out->push_back('}');
}

Status AppendJsonTensor(const Tensor& tensor, std::string* out) {
  if (tensor.type == DataType::kFp16 || tensor.type == DataType::kBf16) {
    return Status::InvalidArgument(
        "sending " + std::string(DataTypeName(tensor.type)) +
        " data via JSON is not supported. Please use the binary data format for output " +
        tensor.name);
  }
  const std::span dims(tensor.shape.data(), tensor.shape.size());
  const auto count = ElementCount(dims);
  if (!count.has_value()) return SizeMismatch(tensor);
  out->push_back('[');
  if (tensor.type == DataType::kBytes) {
    if (!AppendStrings(tensor.data, static_cast<std::size_t>(*count), out))
      return SizeMismatch(tensor);
  } else {
    if (TensorByteSize(tensor.type, dims) != tensor.data.size) return SizeMismatch(tensor);
    AppendFixed(tensor.type, tensor.data.data, static_cast<std::size_t>(*count), out);
  }
  out->push_back(']');
  return Status::Ok();
}

}  // namespace fastserve
