#include "cache/response_wire.h"

#include <bit>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>
#include <variant>

#include "inference/shape.h"
#include "inference/tensor.h"

namespace fastserve {

namespace {

static_assert(std::endian::native == std::endian::little, "numbers are written as they lie");

constexpr std::string_view kMagic = "FSR1";
// No model has more dimensions; a client's tensors are checked against a model's.
constexpr std::uint32_t kMostDims = 64;
// What an output and a parameter take at the least.
constexpr std::size_t kLeastOutputBytes = 4 + 1 + 4 + 8;
constexpr std::size_t kLeastParameterBytes = 4 + 1 + 1;

template <typename Number>
void Put(Number value, std::string* out) {
  out->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void PutText(std::string_view text, std::string* out) {
  Put(static_cast<std::uint32_t>(text.size()), out);
  out->append(text);
}

void PutOutput(const Tensor& output, std::string* out) {
  PutText(output.name, out);
  Put(static_cast<std::uint8_t>(output.type), out);
  Put(static_cast<std::uint32_t>(output.shape.size()), out);
  for (const std::int64_t dim : output.shape) Put(dim, out);
  Put(static_cast<std::uint64_t>(output.data.size), out);
  out->append(reinterpret_cast<const char*>(output.data.data), output.data.size);
}

void PutParameter(const std::string& name, const Parameter& value, std::string* out) {
  PutText(name, out);
  Put(static_cast<std::uint8_t>(value.index()), out);
  if (const auto* text = std::get_if<std::string>(&value)) {
    PutText(*text, out);
  } else if (const auto* flag = std::get_if<bool>(&value)) {
    Put(static_cast<std::uint8_t>(*flag ? 1 : 0), out);
  } else if (const auto* real = std::get_if<double>(&value)) {
    Put(*real, out);
  } else if (const auto* integer = std::get_if<std::int64_t>(&value)) {
    Put(*integer, out);
  } else {
    Put(std::get<std::uint64_t>(value), out);
  }
}

// Takes values off the front. After a failure everything else fails too.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : rest_(bytes) {}

  std::size_t left() const { return rest_.size(); }

  bool Take(std::size_t size, std::span<const std::byte>* taken) {
    if (size > rest_.size()) {
      rest_ = {};
      return false;
    }
    *taken = rest_.first(size);
    rest_ = rest_.subspan(size);
    return true;
  }

  template <typename Number>
  bool Read(Number* value) {
    std::span<const std::byte> bytes;
    if (!Take(sizeof(Number), &bytes)) return false;
    std::memcpy(value, bytes.data(), sizeof(Number));
    return true;
  }

  bool ReadText(std::string* text) {
    std::uint32_t size = 0;
    std::span<const std::byte> bytes;
    if (!Read(&size) || !Take(size, &bytes)) return false;
    text->assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return true;
  }

 private:
  std::span<const std::byte> rest_;
};

bool IsDataType(std::uint8_t type) {
  return type != 0 && DataTypeName(static_cast<DataType>(type)) != "INVALID";
}

bool ReadShape(Reader* reader, Shape* shape) {
  std::uint32_t rank = 0;
  if (!reader->Read(&rank) || rank > kMostDims) return false;
  for (std::uint32_t i = 0; i < rank; ++i) {
    std::int64_t dim = 0;
    if (!reader->Read(&dim)) return false;
    shape->push_back(dim);
  }
  return true;
}

bool SizeFits(const Tensor& output) {
  if (output.type != DataType::kBytes) {
    return TensorByteSize(output.type, output.shape) == std::optional(output.data.size);
  }
  const std::optional<std::int64_t> count = ElementCount(output.shape);
  return count && CheckBytesElements("", {output.data.data, output.data.size}, *count).ok();
}

// The tensor's view points into the parsed bytes.
bool ReadOutput(Reader* reader, Tensor* output) {
  std::uint8_t type = 0;
  std::uint64_t size = 0;
  std::span<const std::byte> data;
  if (!reader->ReadText(&output->name) || !reader->Read(&type) || !IsDataType(type)) return false;
  if (!ReadShape(reader, &output->shape) || !reader->Read(&size)) return false;
  if (size > reader->left() || !reader->Take(size, &data)) return false;
  output->type = static_cast<DataType>(type);
  // Only read from: CopyResponse copies it before anybody else sees it.
  output->data = {nullptr, const_cast<std::byte*>(data.data()), data.size()};
  return SizeFits(*output);
}

template <typename Number>
bool ReadValue(Reader* reader, Parameter* value) {
  Number number{};
  if (!reader->Read(&number)) return false;
  *value = number;
  return true;
}

bool ReadParameter(Reader* reader, Parameters* parameters) {
  std::string name;
  std::uint8_t kind = 0;
  Parameter value;
  if (!reader->ReadText(&name) || !reader->Read(&kind)) return false;
  bool read = false;
  switch (kind) {
    case 0: {
      std::uint8_t flag = 0;
      read = reader->Read(&flag) && flag <= 1;
      value = flag == 1;
      break;
    }
    case 1:
      read = ReadValue<std::int64_t>(reader, &value);
      break;
    case 2:
      read = ReadValue<std::uint64_t>(reader, &value);
      break;
    case 3:
      read = ReadValue<double>(reader, &value);
      break;
    case 4:
      read = reader->ReadText(&value.emplace<std::string>());
      break;
    default:
      break;
  }
  return read && parameters->emplace(std::move(name), std::move(value)).second;
}

bool ReadOutputs(Reader* reader, std::vector<Tensor>* outputs) {
  std::uint32_t count = 0;
  if (!reader->Read(&count) || count > reader->left() / kLeastOutputBytes) return false;
  outputs->resize(count);
  for (Tensor& output : *outputs) {
    if (!ReadOutput(reader, &output)) return false;
  }
  return true;
}

bool ReadParameters(Reader* reader, Parameters* parameters) {
  std::uint32_t count = 0;
  if (!reader->Read(&count) || count > reader->left() / kLeastParameterBytes) return false;
  for (std::uint32_t i = 0; i < count; ++i) {
    if (!ReadParameter(reader, parameters)) return false;
  }
  return true;
}

bool ReadMagic(Reader* reader) {
  std::span<const std::byte> magic;
  return reader->Take(kMagic.size(), &magic) &&
         std::memcmp(magic.data(), kMagic.data(), kMagic.size()) == 0;
}

}  // namespace

Result<std::string> SerializeResponse(const InferResponse& response) {
  std::string out(kMagic);
  out.reserve(TensorBytes(response) + 256);
  Put(static_cast<std::uint32_t>(response.outputs.size()), &out);
  for (const Tensor& output : response.outputs) {
    if (output.data.owner != nullptr && output.data.owner->memory_type() == MemoryType::kCuda) {
      return Status::InvalidArgument("output '" + output.name + "' is not in host memory");
    }
    PutOutput(output, &out);
  }
  Put(static_cast<std::uint32_t>(response.parameters.size()), &out);
  for (const auto& [name, value] : response.parameters) PutParameter(name, value, &out);
  return out;
}

Result<CachedResponse> ParseResponse(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  InferResponse response;
  if (!ReadMagic(&reader) || !ReadOutputs(&reader, &response.outputs) ||
      !ReadParameters(&reader, &response.parameters) || reader.left() != 0) {
    return Status::InvalidArgument("a cached response of " + std::to_string(bytes.size()) +
                                   " bytes is damaged, or of another version");
  }
  CachedResponse copy = CopyResponse(response);
  if (copy == nullptr) {
    return Status::Unavailable("no memory for a cached response of " +
                               std::to_string(bytes.size()) + " bytes");
  }
  return copy;
}

}  // namespace fastserve
