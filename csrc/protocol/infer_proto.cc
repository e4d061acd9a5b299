// ModelInferRequest: one pass over the fields, then the tensors' bytes are found by index.
#include "protocol/infer_proto.h"

#include <boost/container/small_vector.hpp>
#include <charconv>
#include <cstdint>
#include <protozero/pbf_reader.hpp>
#include <string>
#include <utility>

#include "protocol/input_tensor.h"
#include "protocol/parameters.h"
#include "protocol/proto_contents.h"

namespace fastserve {

namespace {

using protozero::data_view;
using protozero::pbf_reader;
using protozero::pbf_wire_type;
using protozero::tag_and_type;

// Fields of a known number and an unexpected wire type are skipped, as unknown fields are.
constexpr auto Text(protozero::pbf_tag_type tag) {
  return tag_and_type(tag, pbf_wire_type::length_delimited);
}
constexpr auto Varint(protozero::pbf_tag_type tag) {
  return tag_and_type(tag, pbf_wire_type::varint);
}

std::string_view AsStringView(data_view view) { return {view.data(), view.size()}; }

// A proto3 `string` is UTF-8; an echoed one that is not would make our own answer unreadable.
Status ParseString(data_view view, std::string_view field, std::string* out) {
  const std::string_view text = AsStringView(view);
  if (!IsValidUtf8(text)) {
    return Status::InvalidArgument("field '" + std::string(field) +
                                   "' of the request is not valid UTF-8");
  }
  out->assign(text);
  return Status::Ok();
}

struct MapEntry {
  std::string_view key;
  std::optional<Parameter> value;  // nullopt: no value, or one of a kind that is not known
};

// inference.InferParameter: a oneof, the last one given holds.
std::optional<Parameter> ParseParameter(pbf_reader reader) {
  std::optional<Parameter> value;
  while (reader.next()) {
    switch (reader.tag_and_type()) {
      case Varint(1):
        value = reader.get_bool();
        break;
      case Varint(2):
        value = std::int64_t{reader.get_int64()};
        break;
      case Text(3):
        value = reader.get_string();
        break;
      case tag_and_type(4, pbf_wire_type::fixed64):
        value = reader.get_double();
        break;
      case Varint(5):
        value = std::uint64_t{reader.get_uint64()};
        break;
      default:
        reader.skip();
    }
  }
  return value;
}

MapEntry ParseMapEntry(pbf_reader reader) {
  MapEntry entry;
  while (reader.next()) {
    switch (reader.tag_and_type()) {
      case Text(1):
        entry.key = AsStringView(reader.get_view());
        break;
      case Text(2):
        entry.value = ParseParameter(reader.get_message());
        break;
      default:
        reader.skip();
    }
  }
  return entry;
}

Status ParseModelVersion(data_view view, std::int64_t* version) {
  const std::string text(view.data(), view.size());
  *version = -1;
  if (text.empty()) return Status::Ok();
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *version);
  if (error != std::errc() || end != text.data() + text.size()) {
    return Status::InvalidArgument(
        "failed to get model version from specified version string '" + text +
        "' (details: not an integer), version should be an integral value > 0");
  }
  if (*version < 0) {
    return Status::InvalidArgument("invalid model version specified '" + text +
                                   "' , version should be an integral value > 0");
  }
  return Status::Ok();
}

class RequestParser {
 public:
  RequestParser(const BufferView& message, InferRequest* request)
      : message_(message), request_(request) {}

  Status Parse() {
    pbf_reader reader(reinterpret_cast<const char*>(message_.data), message_.size);
    while (reader.next()) FASTSERVE_RETURN_IF_ERROR(ParseField(&reader));
    return raw_.empty() ? UseTypedContents() : UseRawContents();
  }

 private:
  Status ParseField(pbf_reader* reader) {
    switch (reader->tag_and_type()) {
      case Text(1):
        return ParseString(reader->get_view(), "model_name", &request_->model_name);
      case Text(2):
        return ParseModelVersion(reader->get_view(), &request_->model_version);
      case Text(3):
        return ParseString(reader->get_view(), "id", &request_->id);
      case Text(4):
        return ParseRequestParameter(reader->get_message());
      case Text(5):
        return ParseInput(reader->get_message());
      case Text(6):
        return ParseOutput(reader->get_message());
      case Text(7):
        raw_.push_back(reader->get_view());
        return Status::Ok();
      default:
        reader->skip();
        return Status::Ok();
    }
  }

  Status ParseRequestParameter(pbf_reader reader) {
    MapEntry entry = ParseMapEntry(reader);
    if (!entry.value.has_value()) {
      return Status::InvalidArgument(
          "invalid value type for '" + std::string(entry.key) +
          "' parameter, expected int64_param, bool_param, or string_param.");
    }
    return ApplyRequestParameter(entry.key, *std::move(entry.value), ParameterDialect::kProto,
                                 request_);
  }

  Status ParseInput(pbf_reader reader) {
    Tensor& input = request_->inputs.emplace_back();
    ProtoContents& contents = contents_.emplace_back();
    std::string_view datatype;
    std::optional<std::string> region;
    while (reader.next()) {
      switch (reader.tag_and_type()) {
        case Text(1):
          FASTSERVE_RETURN_IF_ERROR(ParseString(reader.get_view(), "inputs.name", &input.name));
          break;
        case Text(2):
          datatype = AsStringView(reader.get_view());
          break;
        case Varint(3):
          input.shape.push_back(reader.get_int64());
          break;
        case Text(3):
          for (const std::int64_t dimension : reader.get_packed_int64())
            input.shape.push_back(dimension);
          break;
        case Text(4):
          FindRegion(ParseMapEntry(reader.get_message()), &region);
          break;
        case Text(5):
          contents.push_back(reader.get_view());
          break;
        default:
          reader.skip();
      }
    }
    if (region.has_value()) return SharedMemoryNotOffered("input", input.name, *region);
    FASTSERVE_ASSIGN_OR_RETURN(input.type, ParseInputDataType(datatype, input.name));
    return InputElementCount(input).status();
  }

  static void FindRegion(MapEntry entry, std::optional<std::string>* region) {
    if (entry.key != "shared_memory_region" || !entry.value.has_value()) return;
    const auto* name = std::get_if<std::string>(&*entry.value);
    *region = name != nullptr ? *name : std::string();
  }

  Status ParseOutput(pbf_reader reader) {
    RequestedOutput& output = request_->outputs.emplace_back();
    std::optional<std::string> region;
    while (reader.next()) {
      switch (reader.tag_and_type()) {
        case Text(1):
          FASTSERVE_RETURN_IF_ERROR(ParseString(reader.get_view(), "outputs.name", &output.name));
          break;
        case Text(2): {
          MapEntry entry = ParseMapEntry(reader.get_message());
          FASTSERVE_RETURN_IF_ERROR(ParseClassification(entry, &output));
          FindRegion(std::move(entry), &region);
          break;
        }
        default:
          reader.skip();
      }
    }
    return region.has_value() ? SharedMemoryNotOffered("output", output.name, *region)
                              : Status::Ok();
  }

  static Status ParseClassification(const MapEntry& entry, RequestedOutput* output) {
    if (entry.key != "classification") return Status::Ok();
    const auto count = entry.value.has_value() ? AsUnsigned(*entry.value) : std::nullopt;
    if (!count.has_value() || *count > UINT32_MAX) {
      return Status::InvalidArgument(
          "invalid value type for 'classification' parameter, expected int64_param");
    }
    output->classification_count = static_cast<std::uint32_t>(*count);
    return Status::Ok();
  }

  Status UseTypedContents() {
    for (std::size_t i = 0; i < request_->inputs.size(); ++i) {
      Tensor& input = request_->inputs[i];
      if (contents_[i].empty()) return NoData(input);
      FASTSERVE_RETURN_IF_ERROR(ParseProtoContents(contents_[i], request_->model_name, &input));
    }
    return Status::Ok();
  }

  Status UseRawContents() {
    for (std::size_t i = 0; i < request_->inputs.size(); ++i) {
      Tensor& input = request_->inputs[i];
      if (!contents_[i].empty()) {
        return Status::InvalidArgument(
            "contents field must not be specified when using raw_input_contents for '" +
            input.name + "' for model '" + request_->model_name + "'");
      }
      if (i >= raw_.size()) return NoData(input);
      FASTSERVE_ASSIGN_OR_RETURN(input.data, AlignedForType(ViewOf(raw_[i]), input.type));
    }
    if (raw_.size() > request_->inputs.size()) {
      return Status::InvalidArgument("unexpected additional raw_input_contents for model '" +
                                     request_->model_name + "': got " +
                                     std::to_string(raw_.size()) + " for " +
                                     std::to_string(request_->inputs.size()) + " inputs");
    }
    return Status::Ok();
  }

  Status NoData(const Tensor& input) const {
    return Status::InvalidArgument("unable to find data for input tensor '" + input.name +
                                   "' for model '" + request_->model_name + "' in request.");
  }

  BufferView ViewOf(data_view raw) const {
    const auto* begin = reinterpret_cast<const std::byte*>(raw.data());
    return message_.Slice(static_cast<std::size_t>(begin - message_.data), raw.size());
  }

  const BufferView& message_;
  InferRequest* request_;
  boost::container::small_vector<ProtoContents, 4> contents_;  // parallel to request_->inputs
  boost::container::small_vector<data_view, 4> raw_;
};

}  // namespace

std::optional<std::size_t> FirstRawInputOffset(std::span<const std::byte> prefix) {
  const char* const begin = reinterpret_cast<const char*>(prefix.data());
  const char* const end = begin + prefix.size();
  try {
    for (const char* position = begin; position != end;) {
      const auto key = static_cast<std::uint32_t>(protozero::decode_varint(&position, end));
      if (key == Text(7)) {
        protozero::decode_varint(&position, end);
        return static_cast<std::size_t>(position - begin);
      }
      // The fields before the first raw contents are length-delimited; for anything else alignment
      // is not worth a parser.
      if (static_cast<pbf_wire_type>(key & 0x7U) != pbf_wire_type::length_delimited)
        return std::nullopt;
      const std::uint64_t length = protozero::decode_varint(&position, end);
      if (length > static_cast<std::uint64_t>(end - position)) return std::nullopt;
      position += length;
    }
  } catch (const protozero::exception&) {
    return std::nullopt;
  }
  return std::nullopt;
}

Status ParseModelInferRequest(const BufferView& message, InferRequest* request) {
  try {
    return RequestParser(message, request).Parse();
  } catch (const protozero::exception& error) {
    return Status::InvalidArgument(std::string("malformed ModelInferRequest message: ") +
                                   error.what());
  }
}

}  // namespace fastserve
