#include "protocol/generate_json_reader.h"

#include <rapidjson/error/en.h>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "protocol/generate_json.h"
#include "protocol/input_tensor.h"
#include "protocol/json_replay.h"
#include "protocol/parameters.h"

namespace fastserve {

namespace {

using Reader =
    rapidjson::GenericReader<rapidjson::UTF8<>, rapidjson::UTF8<>, rapidjson::CrtAllocator>;

constexpr std::string_view kNestedKey = "parameters";

// Fixed dimensions take their share of the elements, the last variable one the rest. False when
// they do not fill the shape.
bool Distribute(std::int64_t elements, Shape* shape) {
  for (const std::int64_t dim : *shape) {
    if (dim <= 0) continue;
    if (elements % dim != 0) return false;
    elements /= dim;
  }
  for (auto dim = shape->rbegin(); dim != shape->rend(); ++dim) {
    if (*dim == -1) *dim = std::exchange(elements, 1);
  }
  return elements == 1;
}

}  // namespace

// --- shape ---

void ArrayShape::Clear() {
  counts_.clear();
  dims_.clear();
  leaf_level_ = 0;
  elements_ = 0;
}

bool ArrayShape::Open() {
  if (!counts_.empty()) ++counts_.back();
  counts_.push_back(0);
  if (dims_.size() < counts_.size()) dims_.push_back(kUnknown);
  return leaf_level_ == 0 || counts_.size() <= leaf_level_;
}

bool ArrayShape::Close() {
  std::int64_t& dim = dims_[counts_.size() - 1];
  const std::int64_t count = counts_.back();
  counts_.pop_back();
  if (dim == kUnknown) dim = count;
  return dim == count;
}

bool ArrayShape::AddElement() {
  ++elements_;
  if (counts_.empty()) return true;
  ++counts_.back();
  if (leaf_level_ == 0) leaf_level_ = counts_.size();
  return leaf_level_ == counts_.size() && dims_.size() == leaf_level_;
}

// --- structure ---

Status GenerateJsonReader::Read(char* text, std::size_t size) {
  JsonStream stream(text, size);
  stream_ = &stream;
  rapidjson::CrtAllocator allocator;
  Reader reader(&allocator);
  const rapidjson::ParseResult result = reader.Parse<kJsonFlags>(stream, *this);
  if (!status_.ok()) return status_;
  // A NUL ends the document for RapidJSON.
  const auto code = !result.IsError() && !stream.at_end()
                        ? rapidjson::kParseErrorDocumentRootNotSingular
                        : result.Code();
  if (code == rapidjson::kParseErrorNone) return Status::Ok();
  return Status::InvalidArgument(
      "failed to parse the request JSON buffer: " + std::string(rapidjson::GetParseError_En(code)) +
      " at " + std::to_string(result.Offset()));
}

bool GenerateJsonReader::Key(const char* text, rapidjson::SizeType length, bool) {
  key_ = {text, length};
  input_ = nullptr;
  if (scope_ == Scope::kRoot && key_ == kNestedKey) {
    member_ = Member::kNested;
    return true;
  }
  input_ = FindTensor(spec_.inputs, key_);
  if (input_ != nullptr) {
    member_ = Member::kInput;
  } else {
    member_ = scope_ == Scope::kRoot && key_ == "id" ? Member::kId : Member::kParameter;
  }
  return true;
}

bool GenerateJsonReader::Deeper() {
  if (++depth_ <= limits_.max_depth) return true;
  return Fail(Status::InvalidArgument("JSON nesting depth exceeds maximum allowed limit (" +
                                      std::to_string(limits_.max_depth) + ")"));
}

bool GenerateJsonReader::StartObject() {
  if (!Deeper()) return false;
  if (scope_ == Scope::kDocument) {
    scope_ = Scope::kRoot;
    return true;
  }
  if (scope_ == Scope::kRoot && member_ == Member::kNested) {
    scope_ = Scope::kParameters;
    return true;
  }
  return RefuseCompound();
}

bool GenerateJsonReader::EndObject(rapidjson::SizeType) {
  --depth_;
  scope_ = scope_ == Scope::kParameters ? Scope::kRoot : Scope::kDocument;
  return true;
}

bool GenerateJsonReader::StartArray() {
  if (!Deeper()) return false;
  if (scope_ == Scope::kArray) return shape_.Open() || FailInput(Irregular());
  if (scope_ == Scope::kDocument || member_ != Member::kInput) return RefuseCompound();
  if (!BeginInput()) return false;
  array_parent_ = scope_;
  scope_ = Scope::kArray;
  array_begin_ = stream_->position();
  return shape_.Open();
}

bool GenerateJsonReader::EndArray(rapidjson::SizeType) {
  --depth_;
  if (!shape_.Close()) return FailInput(Irregular());
  if (shape_.open()) return true;
  scope_ = array_parent_;
  return EndInput(nullptr);
}

bool GenerateJsonReader::RefuseCompound() {
  if (scope_ == Scope::kDocument) return Fail(JsonTypeError("request", "object"));
  switch (member_) {
    case Member::kInput:
      if (scope_ != Scope::kArray && !BeginInput()) return false;
      return AddElement({Kind::kNull, {}, false});
    case Member::kId:
      return Fail(JsonTypeError("id", "string"));
    default:
      return SetParameter({Kind::kNull, {}, false});
  }
}

bool GenerateJsonReader::OnScalar(const Scalar& value) {
  if (scope_ == Scope::kDocument) return Fail(JsonTypeError("request", "object"));
  if (scope_ == Scope::kArray) return AddElement(value);
  switch (member_) {
    case Member::kInput:
      return BeginInput() && AddElement(value) && EndInput(&value);
    case Member::kId:
      return SetId(value);
    default:
      return SetParameter(value);
  }
}

// --- members ---

bool GenerateJsonReader::SetId(const Scalar& value) {
  if (value.kind != Kind::kString) return Fail(JsonTypeError("id", "string"));
  if (!IsValidUtf8(value.text))
    return Fail(Status::InvalidArgument("Unable to parse 'id': not valid UTF-8"));
  request_->id.assign(value.text);
  return true;
}

bool GenerateJsonReader::SetParameter(const Scalar& value) {
  if (scope_ == Scope::kRoot && member_ == Member::kNested) {
    return Fail(Status::InvalidArgument("Expected JSON object for keyword: '" +
                                        std::string(kNestedKey) + "'"));
  }
  Status status = ParameterTypeError(key_);
  Parameter parameter;
  if (value.kind == Kind::kBool) parameter = value.flag;
  if (value.kind == Kind::kNumber) parameter = NumberParameter(value.text);
  if (value.kind == Kind::kString) parameter = std::string(value.text);
  if (value.kind != Kind::kNull) {
    status = ApplyRequestParameter(key_, std::move(parameter), ParameterDialect::kJson, request_);
  }
  if (status.ok()) return true;
  if (scope_ != Scope::kParameters) return Fail(std::move(status));
  return Fail({status.code(),
               "Converting keyword: '" + std::string(kNestedKey) + "': " + status.message()});
}

// --- inputs ---

bool GenerateJsonReader::BeginInput() {
  const bool given = std::ranges::any_of(
      request_->inputs, [this](const Tensor& tensor) { return tensor.name == input_->name; });
  if (given)
    return Fail(Status::InvalidArgument("input '" + input_->name + "' already exists in request"));
  if (input_->type == DataType::kFp16 || input_->type == DataType::kBf16) {
    return Fail(Status::InvalidArgument(
        "receiving " + std::string(DataTypeName(input_->type)) +
        " data via JSON is not supported. Please use the infer endpoint and the binary data "
        "format for input " +
        input_->name));
  }
  shape_.Clear();
  if (input_->type == DataType::kBytes) {
    data_.BeginBytes();
    return true;
  }
  // Takes no element: what is wrong with one is known by its kind.
  return FailInput(data_.BeginNumbers(input_->type, 0, 0));
}

// Strings are taken now. Numbers wait until it is known how many they are.
bool GenerateJsonReader::AddElement(const Scalar& value) {
  if (!shape_.AddElement()) return FailInput(Irregular());
  const bool waits = input_->type != DataType::kBytes &&
                     (value.kind == Kind::kNumber || value.kind == Kind::kBool);
  return waits || AddTo(value) || FailInput(Status::InvalidArgument(data_.error()));
}

bool GenerateJsonReader::AddTo(const Scalar& value) {
  switch (value.kind) {
    case Kind::kBool:
      return data_.AddBool(value.flag);
    case Kind::kNumber:
      return data_.AddNumber(value.text);
    case Kind::kString:
      return data_.AddString(value.text);
    default:
      return data_.AddOther();
  }
}

bool GenerateJsonReader::EndInput(const Scalar* single) { return FailInput(FillInput(single)); }

Status GenerateJsonReader::FillInput(const Scalar* single) {
  if (input_->type != DataType::kBytes) FASTSERVE_RETURN_IF_ERROR(FillNumbers(single));
  Tensor tensor;
  tensor.name = input_->name;
  tensor.type = input_->type;
  FASTSERVE_ASSIGN_OR_RETURN(tensor.shape, InputShape());
  FASTSERVE_RETURN_IF_ERROR(data_.Finish(shape_.elements(), &tensor));
  expanded_bytes_ += tensor.data.size;
  if (expanded_bytes_ > limits_.max_input_bytes)
    return JsonTooLarge(expanded_bytes_, limits_.max_input_bytes);
  request_->inputs.push_back(std::move(tensor));
  return Status::Ok();
}

Status GenerateJsonReader::FillNumbers(const Scalar* single) {
  const std::int64_t count = shape_.elements();
  const std::size_t size = static_cast<std::size_t>(count) * DataTypeByteSize(input_->type);
  if (size > limits_.max_input_bytes - expanded_bytes_)
    return JsonTooLarge(expanded_bytes_ + size, limits_.max_input_bytes);
  // Each element takes two bytes of text, so the sum cannot overflow.
  FASTSERVE_RETURN_IF_ERROR(
      data_.BeginNumbers(input_->type, count, static_cast<std::size_t>(count) * 2));
  if (single != nullptr)
    return AddTo(*single) ? Status::Ok() : Status::InvalidArgument(data_.error());
  const auto text_size = static_cast<std::size_t>(stream_->position() + 1 - array_begin_);
  return ReplayNumbers(array_begin_, text_size, &data_);
}

Result<Shape> GenerateJsonReader::InputShape() const {
  const bool batches = spec_.max_batch_size > 0;
  Shape full;
  if (batches) full.push_back(-1);
  full.insert(full.end(), input_->dims.begin(), input_->dims.end());
  const std::vector<std::int64_t>& dims = shape_.dims();
  if (dims.size() > 1) {
    Shape nested;
    if (batches && dims.size() + 1 == full.size()) nested.push_back(1);
    nested.insert(nested.end(), dims.begin(), dims.end());
    if (nested.size() == full.size()) return nested;
    return Status::InvalidArgument("nested arrays of " + std::to_string(dims.size()) +
                                   " levels do not fit the shape " + ShapeToString(full));
  }
  if (Distribute(shape_.elements(), &full)) return full;
  return Status::InvalidArgument("The schema can not convert input '" + input_->name +
                                 "' to tensor with proper shape: " +
                                 std::to_string(shape_.elements()) + " elements do not fill it");
}

Status GenerateJsonReader::Irregular() const {
  return Status::InvalidArgument("nested arrays must have equal lengths and depths");
}

// --- failure ---

bool GenerateJsonReader::Fail(Status status) {
  status_ = std::move(status);
  return false;
}

bool GenerateJsonReader::FailInput(const Status& status) {
  if (status.ok()) return true;
  return Fail({status.code(), "Unable to parse '" + input_->name + "': " + status.message()});
}

Status ParseGenerateRequest(const BufferView& body, const InferJsonLimits& limits,
                            const ModelSpec& spec, InferRequest* request) {
  // RapidJSON counts the characters of a string in 32 bits.
  const std::size_t limit =
      std::min<std::size_t>(limits.max_input_bytes, std::numeric_limits<std::uint32_t>::max());
  if (body.size > limit) return JsonTooLarge(body.size, limit);
  return GenerateJsonReader(limits, spec, request)
      .Read(reinterpret_cast<char*>(body.data), body.size);
}

}  // namespace fastserve
