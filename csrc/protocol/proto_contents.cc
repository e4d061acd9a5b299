#include "protocol/proto_contents.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <protozero/pbf_reader.hpp>
#include <protozero/varint.hpp>
#include <string>
#include <utility>

#include "protocol/input_tensor.h"

namespace fastserve {

namespace {

static_assert(std::endian::native == std::endian::little,
              "tensor bytes and protobuf fixed fields are little-endian");

using protozero::pbf_wire_type;

// Field numbers of inference.InferTensorContents.
enum Kind : protozero::pbf_tag_type {
  kBoolContents = 1,
  kIntContents = 2,
  kInt64Contents = 3,
  kUintContents = 4,
  kUint64Contents = 5,
  kFp32Contents = 6,
  kFp64Contents = 7,
  kBytesContents = 8,
};
constexpr std::size_t kKindCount = 9;

// How one element of a kind is encoded when it is not packed.
pbf_wire_type WireType(Kind kind) {
  if (kind == kFp32Contents) return pbf_wire_type::fixed32;
  if (kind == kFp64Contents) return pbf_wire_type::fixed64;
  if (kind == kBytesContents) return pbf_wire_type::length_delimited;
  return pbf_wire_type::varint;
}

// The kind that carries elements of a type; nullopt for FP16 and BF16, which travel raw only.
std::optional<Kind> KindOf(DataType type) {
  switch (type) {
    case DataType::kBool:
      return kBoolContents;
    case DataType::kInt8:
    case DataType::kInt16:
    case DataType::kInt32:
      return kIntContents;
    case DataType::kInt64:
      return kInt64Contents;
    case DataType::kUint8:
    case DataType::kUint16:
    case DataType::kUint32:
      return kUintContents;
    case DataType::kUint64:
      return kUint64Contents;
    case DataType::kFp32:
      return kFp32Contents;
    case DataType::kFp64:
      return kFp64Contents;
    case DataType::kBytes:
      return kBytesContents;
    default:
      return std::nullopt;
  }
}

DataType WidestType(Kind kind) {
  constexpr std::array<DataType, kKindCount> kTypes = {
      DataType::kInvalid, DataType::kBool, DataType::kInt32, DataType::kInt64, DataType::kUint32,
      DataType::kUint64,  DataType::kFp32, DataType::kFp64,  DataType::kBytes};
  return kTypes[kind];
}

std::string InputOfModel(const Tensor& input, std::string_view model_name) {
  return "input tensor '" + input.name + "' for model '" + std::string(model_name) + "'";
}

// How much of each kind the message holds: elements, or bytes of their serialised form for
// bytes_contents.
using Amounts = std::array<std::size_t, kKindCount>;

std::size_t FixedCount(protozero::data_view packed, std::size_t element_size) {
  if (packed.size() % element_size != 0) throw protozero::invalid_length_exception{};
  return packed.size() / element_size;
}

std::size_t PackedCount(Kind kind, protozero::data_view packed) {
  if (kind == kFp32Contents) return FixedCount(packed, sizeof(float));
  if (kind == kFp64Contents) return FixedCount(packed, sizeof(double));
  // Every varint ends with the one byte whose high bit is clear.
  const auto ends = [](char byte) { return (byte & 0x80) == 0; };
  const char* const begin = packed.data();
  const char* const end = begin + packed.size();
  if (begin != end && !ends(*(end - 1))) throw protozero::end_of_buffer_exception{};
  return static_cast<std::size_t>(std::count_if(begin, end, ends));
}

void Measure(protozero::pbf_reader reader, Amounts* amounts) {
  while (reader.next()) {
    const auto tag = reader.tag();
    if (tag >= kBoolContents && tag <= kBytesContents) {
      const auto kind = static_cast<Kind>(tag);
      if (reader.wire_type() == pbf_wire_type::length_delimited) {
        const auto view = reader.get_view();
        (*amounts)[kind] +=
            kind == kBytesContents ? view.size() + sizeof(std::uint32_t) : PackedCount(kind, view);
        continue;
      }
      if (reader.wire_type() == WireType(kind)) ++(*amounts)[kind];
    }
    reader.skip();
  }
}

// Errors as Triton's: the one kind that is used must be the one of the tensor's type.
Result<std::optional<Kind>> UsedKind(const Amounts& amounts, std::string_view model_name,
                                     const Tensor& input) {
  const auto wanted = KindOf(input.type);
  std::optional<Kind> used;
  for (std::size_t i = kBoolContents; i <= kBytesContents; ++i) {
    if (amounts[i] == 0) continue;
    const auto kind = static_cast<Kind>(i);
    if (used.has_value()) {
      return Status::InvalidArgument("unexpected explicit tensor data for " +
                                     InputOfModel(input, model_name) +
                                     ", binary data was already supplied.");
    }
    if (kind != wanted) {
      return Status::InvalidArgument(
          "unexpected explicit tensor data for " + InputOfModel(input, model_name) + " of type '" +
          std::string(DataTypeName(WidestType(kind))) + "', expected datatype '" +
          std::string(DataTypeName(input.type)) + "'");
    }
    used = kind;
  }
  return used;
}

// Writes the elements of one kind into a buffer that Measure sized.
class ContentsWriter {
 public:
  ContentsWriter(Kind kind, std::byte* out) : kind_(kind), out_(out) {}

  // Calls append(wire value) for every varint of the kind; stops at false.
  template <typename Append>
  bool ForEachVarint(protozero::pbf_reader reader, Append append) {
    while (reader.next(kind_)) {
      if (reader.wire_type() == pbf_wire_type::varint) {
        if (!append(reader.get_uint64())) return false;
      } else if (reader.wire_type() == pbf_wire_type::length_delimited) {
        const auto packed = reader.get_view();
        const char* position = packed.data();
        const char* const end = position + packed.size();
        while (position != end) {
          if (!append(protozero::decode_varint(&position, end))) return false;
        }
      } else {
        reader.skip();
      }
    }
    return true;
  }

  // fp32_contents and fp64_contents: little-endian bytes, as in the tensor.
  template <typename T>
  void CopyFixed(protozero::pbf_reader reader) {
    while (reader.next(kind_)) {
      if (reader.wire_type() == WireType(kind_)) {
        const T value = kind_ == kFp32Contents ? static_cast<T>(reader.get_float())
                                               : static_cast<T>(reader.get_double());
        Put(&value, sizeof(value));
      } else if (reader.wire_type() == pbf_wire_type::length_delimited) {
        const auto packed = reader.get_view();
        Put(packed.data(), packed.size());
        CountCopiedBytes(packed.size());
      } else {
        reader.skip();
      }
    }
  }

  void CopyBytes(protozero::pbf_reader reader) {
    while (reader.next(kind_)) {
      if (reader.wire_type() != pbf_wire_type::length_delimited) {
        reader.skip();
        continue;
      }
      const auto element = reader.get_view();
      const auto length =
          static_cast<std::uint32_t>(element.size());  // protobuf lengths are 32-bit
      Put(&length, sizeof(length));
      Put(element.data(), element.size());
      CountCopiedBytes(element.size());
    }
  }

  void Put(const void* bytes, std::size_t size) {
    if (size == 0) return;
    std::memcpy(out_, bytes, size);
    out_ += size;
  }

 private:
  Kind kind_;
  std::byte* out_;
};

// `Wire` is the protobuf type of the field, `Element` the tensor's; false when a value does not
// fit.
template <typename Wire, typename Element>
bool CopyVarints(protozero::pbf_reader reader, ContentsWriter* writer) {
  return writer->ForEachVarint(reader, [writer](std::uint64_t raw) {
    const auto wire = static_cast<Wire>(raw);
    const auto element = static_cast<Element>(wire);
    if (static_cast<Wire>(element) != wire) return false;
    writer->Put(&element, sizeof(element));
    return true;
  });
}

bool CopyBools(protozero::pbf_reader reader, ContentsWriter* writer) {
  return writer->ForEachVarint(reader, [writer](std::uint64_t raw) {
    const std::uint8_t element = raw != 0 ? 1 : 0;
    writer->Put(&element, sizeof(element));
    return true;
  });
}

bool CopyContents(DataType type, protozero::pbf_reader reader, ContentsWriter* writer) {
  switch (type) {
    case DataType::kBool:
      return CopyBools(reader, writer);
    case DataType::kInt8:
      return CopyVarints<std::int32_t, std::int8_t>(reader, writer);
    case DataType::kInt16:
      return CopyVarints<std::int32_t, std::int16_t>(reader, writer);
    case DataType::kInt32:
      return CopyVarints<std::int32_t, std::int32_t>(reader, writer);
    case DataType::kInt64:
      return CopyVarints<std::int64_t, std::int64_t>(reader, writer);
    case DataType::kUint8:
      return CopyVarints<std::uint32_t, std::uint8_t>(reader, writer);
    case DataType::kUint16:
      return CopyVarints<std::uint32_t, std::uint16_t>(reader, writer);
    case DataType::kUint32:
      return CopyVarints<std::uint32_t, std::uint32_t>(reader, writer);
    case DataType::kUint64:
      return CopyVarints<std::uint64_t, std::uint64_t>(reader, writer);
    case DataType::kFp32:
      writer->CopyFixed<float>(reader);
      return true;
    case DataType::kFp64:
      writer->CopyFixed<double>(reader);
      return true;
    default:
      writer->CopyBytes(reader);
      return true;
  }
}

}  // namespace

Status ParseProtoContents(const ProtoContents& contents, std::string_view model_name,
                          Tensor* input) {
  Amounts amounts{};
  for (const auto& view : contents) Measure(protozero::pbf_reader(view), &amounts);
  FASTSERVE_ASSIGN_OR_RETURN(const std::optional<Kind> kind, UsedKind(amounts, model_name, *input));
  if (!kind.has_value()) return Status::Ok();

  const std::size_t element_size = *kind == kBytesContents ? 1 : DataTypeByteSize(input->type);
  FASTSERVE_ASSIGN_OR_RETURN(BufferPtr buffer, AllocateTensor(amounts[*kind] * element_size));
  ContentsWriter writer(*kind, buffer->data());
  for (const auto& view : contents) {
    if (!CopyContents(input->type, protozero::pbf_reader(view), &writer)) {
      return Status::InvalidArgument(
          "explicit tensor data for " + InputOfModel(*input, model_name) +
          " holds a value out of the range of " + std::string(DataTypeName(input->type)));
    }
  }
  input->data = BufferView(std::move(buffer));
  return Status::Ok();
}

}  // namespace fastserve
