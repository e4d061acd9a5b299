#include "protocol/infer_json_reader.h"

#include <rapidjson/error/en.h>

#include <string>
#include <utility>

#include "protocol/input_tensor.h"
#include "protocol/json_replay.h"
#include "protocol/parameters.h"

namespace fastserve {

namespace {

using Reader =
    rapidjson::GenericReader<rapidjson::UTF8<>, rapidjson::UTF8<>, rapidjson::CrtAllocator>;

}  // namespace

const std::array<InferJsonReader::Member, 11> InferJsonReader::kMembers = {{
    {Scope::kInput, "name", Expect::kString, Scope::kInput},
    {Scope::kInput, "shape", Expect::kArray, Scope::kShape},
    {Scope::kInput, "datatype", Expect::kString, Scope::kInput},
    {Scope::kInput, "parameters", Expect::kObject, Scope::kInputParameters},
    {Scope::kInput, "data", Expect::kArray, Scope::kData},
    {Scope::kOutput, "name", Expect::kString, Scope::kOutput},
    {Scope::kOutput, "parameters", Expect::kObject, Scope::kOutputParameters},
    {Scope::kRoot, "id", Expect::kString, Scope::kRoot},
    {Scope::kRoot, "parameters", Expect::kObject, Scope::kRequestParameters},
    {Scope::kRoot, "inputs", Expect::kArray, Scope::kInputs},
    {Scope::kRoot, "outputs", Expect::kArray, Scope::kOutputs},
}};

const InferJsonReader::Member* InferJsonReader::FindMember(Scope scope, std::string_view key) {
  for (const Member& member : kMembers) {
    if (member.scope == scope && member.key == key) return &member;
  }
  return nullptr;
}

std::string_view InferJsonReader::ExpectName(Expect expect) {
  switch (expect) {
    case Expect::kString:
      return "string";
    case Expect::kArray:
      return "array";
    default:
      return "object";
  }
}

InferJsonReader::Scope InferJsonReader::Parent(Scope scope) {
  switch (scope) {
    case Scope::kInputs:
    case Scope::kOutputs:
    case Scope::kRequestParameters:
      return Scope::kRoot;
    case Scope::kInput:
      return Scope::kInputs;
    case Scope::kShape:
    case Scope::kData:
    case Scope::kInputParameters:
      return Scope::kInput;
    case Scope::kOutput:
      return Scope::kOutputs;
    case Scope::kOutputParameters:
      return Scope::kOutput;
    default:
      return Scope::kDocument;
  }
}

Status InferJsonReader::Read(char* text, std::size_t size) {
  JsonStream stream(text, size);
  stream_ = &stream;
  size_ = size;
  rapidjson::CrtAllocator allocator;
  Reader reader(&allocator);
  const rapidjson::ParseResult result = reader.Parse<kJsonFlags>(stream, *this);
  if (result.IsError()) return ParseFailure(result.Code(), result.Offset());
  // A NUL ends the document for RapidJSON.
  if (!stream.at_end())
    return ParseFailure(rapidjson::kParseErrorDocumentRootNotSingular, stream.Tell());
  for (const std::size_t index : default_outputs_) {
    request_->outputs[index].binary_data = request_->binary_data_output;
  }
  return Status::Ok();
}

// --- structure ---

bool InferJsonReader::Key(const char* text, rapidjson::SizeType length, bool) {
  key_ = {text, length};
  if (scope_ != Scope::kRoot && scope_ != Scope::kInput && scope_ != Scope::kOutput) return true;
  member_ = FindMember(scope_, key_);
  if (member_ == nullptr) return true;
  const unsigned bit = 1U << static_cast<unsigned>(member_ - kMembers.data());
  if ((seen_ & bit) != 0)
    return Fail(Status::InvalidArgument("key '" + std::string(key_) + "' is given twice"));
  seen_ |= bit;
  return true;
}

bool InferJsonReader::OnStart(Expect got) {
  if (++depth_ > limits_.max_depth) {
    return Fail(Status::InvalidArgument("JSON nesting depth exceeds maximum allowed limit (" +
                                        std::to_string(limits_.max_depth) + ")"));
  }
  switch (scope_) {
    case Scope::kSkip:
      ++nested_;
      return true;
    case Scope::kData:
      ++nested_;
      return got == Expect::kArray || (data_.AddOther() || FailData(data_.error()));
    case Scope::kDocument:
      if (got != Expect::kObject) return Fail(JsonTypeError("request", "object"));
      scope_ = Scope::kRoot;
      return true;
    case Scope::kInputs:
    case Scope::kOutputs:
      if (got != Expect::kObject)
        return Fail(JsonTypeError(scope_ == Scope::kInputs ? "inputs" : "outputs", "object"));
      return StartTensor(scope_ == Scope::kInputs ? Scope::kInput : Scope::kOutput);
    case Scope::kShape:
      return Fail(JsonTypeError("shape", "unsigned-integer"));
    case Scope::kRequestParameters:
      return Fail(ParameterTypeError(key_));
    default:
      return EnterMember(got);
  }
}

bool InferJsonReader::EnterMember(Expect got) {
  const bool parameter = scope_ == Scope::kInputParameters || scope_ == Scope::kOutputParameters;
  if (parameter || member_ == nullptr) return Skip();
  if (member_->expect != got) return Fail(JsonTypeError(member_->key, ExpectName(member_->expect)));
  scope_ = member_->value_scope;
  return scope_ != Scope::kData || StartData();
}

bool InferJsonReader::Skip() {
  skip_return_ = scope_;
  scope_ = Scope::kSkip;
  nested_ = 1;
  return true;
}

bool InferJsonReader::OnEnd() {
  --depth_;
  switch (scope_) {
    case Scope::kSkip:
      if (--nested_ == 0) scope_ = skip_return_;
      return true;
    case Scope::kData:
      if (--nested_ != 0) return true;
      deferred_end_ = stream_->position() + 1;
      break;
    case Scope::kInput:
      if (!EndInput()) return false;
      break;
    case Scope::kOutput:
      if (!EndOutput()) return false;
      break;
    case Scope::kRoot:
      if (!EndRoot()) return false;
      break;
    default:
      break;
  }
  scope_ = Parent(scope_);
  return true;
}

bool InferJsonReader::OnScalar(const Scalar& value) {
  switch (scope_) {
    case Scope::kSkip:
      return true;
    case Scope::kData:
      return DataScalar(value);
    case Scope::kShape:
      return ShapeScalar(value);
    case Scope::kRequestParameters:
      return RequestParameter(value);
    case Scope::kInputParameters:
      return InputParameter(value);
    case Scope::kOutputParameters:
      return OutputParameter(value);
    case Scope::kDocument:
      return Fail(JsonTypeError("request", "object"));
    case Scope::kInputs:
      return Fail(JsonTypeError("inputs", "object"));
    case Scope::kOutputs:
      return Fail(JsonTypeError("outputs", "object"));
    default:
      return MemberScalar(value);
  }
}

bool InferJsonReader::MemberScalar(const Scalar& value) {
  if (member_ == nullptr) return true;
  if (member_->expect != Expect::kString || value.kind != Kind::kString) {
    return Fail(JsonTypeError(member_->key, ExpectName(member_->expect)));
  }
  if (scope_ == Scope::kRoot) {
    if (!IsValidUtf8(value.text))
      return Fail(Status::InvalidArgument("Unable to parse 'id': not valid UTF-8"));
    request_->id.assign(value.text);
  } else if (scope_ == Scope::kOutput) {
    request_->outputs.back().name.assign(value.text);
  } else if (member_->key == "name") {
    input().name.assign(value.text);
  } else {
    auto type = ParseInputDataType(value.text, input().name);
    if (!type.ok()) return Fail(type.status());
    input().type = *type;
  }
  return true;
}

// The type and the shape are known. `text_bytes` of text hold the elements, or more.
Status InferJsonReader::BeginTyped(std::size_t text_bytes) {
  const DataType type = input().type;
  if (type == DataType::kFp16 || type == DataType::kBf16) {
    return Status::InvalidArgument(
        "receiving " + std::string(DataTypeName(type)) +
        " data via JSON is not supported. Please use the binary data format for input " +
        input().name);
  }
  if (type == DataType::kBytes) {
    data_.BeginBytes();
    return Status::Ok();
  }
  FASTSERVE_ASSIGN_OR_RETURN(const std::int64_t count, InputElementCount(input()));
  const auto size = TensorByteSize(type, {input().shape.data(), input().shape.size()});
  if (!size.has_value() || *size > limits_.max_input_bytes - expanded_bytes_) {
    return JsonTooLarge(expanded_bytes_ + size.value_or(0), limits_.max_input_bytes);
  }
  return DataError(data_.BeginNumbers(type, count, text_bytes));
}

bool InferJsonReader::DataScalar(const Scalar& value) {
  if (data_mode_ == DataMode::kUndecided) {
    data_mode_ = value.kind == Kind::kString ? DataMode::kDirect : DataMode::kDeferred;
    if (value.kind == Kind::kString) data_.BeginBytes();
  }
  if (data_mode_ == DataMode::kDeferred) {
    return value.kind != Kind::kString || FailData("strings and numbers are mixed");
  }
  bool added = false;
  switch (value.kind) {
    case Kind::kNull:
      added = data_.AddOther();
      break;
    case Kind::kBool:
      added = data_.AddBool(value.flag);
      break;
    case Kind::kNumber:
      added = data_.AddNumber(value.text);
      break;
    case Kind::kString:
      added = data_.AddString(value.text);
      break;
  }
  return added || FailData(data_.error());
}

Status InferJsonReader::FinishData() {
  if (data_mode_ != DataMode::kDirect) FASTSERVE_RETURN_IF_ERROR(ReplayDeferred());
  FASTSERVE_ASSIGN_OR_RETURN(const std::int64_t count, InputElementCount(input()));
  FASTSERVE_RETURN_IF_ERROR(DataError(data_.Finish(count, &input())));
  expanded_bytes_ += input().data.size;
  if (expanded_bytes_ > limits_.max_input_bytes)
    return JsonTooLarge(expanded_bytes_, limits_.max_input_bytes);
  return Status::Ok();
}

// Nothing in the range is a string, so reading in place has left its text as it was.
Status InferJsonReader::ReplayDeferred() {
  const auto size = static_cast<std::size_t>(deferred_end_ - deferred_begin_);
  FASTSERVE_RETURN_IF_ERROR(BeginTyped(size));
  return DataError(ReplayNumbers(deferred_begin_, size, &data_));
}

// --- failure ---

bool InferJsonReader::Fail(Status status) {
  status_ = std::move(status);
  return false;
}

bool InferJsonReader::FailData(std::string_view reason) {
  return Fail(DataError(Status::InvalidArgument(std::string(reason))));
}

// The same error, saying what could not be read.
Status InferJsonReader::DataError(const Status& status) const {
  if (status.ok()) return status;
  return {status.code(),
          "Unable to parse 'data': " + status.message() + " (input '" + input().name + "')"};
}

Status InferJsonReader::ParseFailure(rapidjson::ParseErrorCode code, std::size_t offset) const {
  if (!status_.ok()) return status_;
  return Status::InvalidArgument(
      "failed to parse the request JSON buffer: " + std::string(rapidjson::GetParseError_En(code)) +
      " at " + std::to_string(offset));
}

bool InferJsonReader::Seen(std::string_view key) const {
  const Member* member = FindMember(scope_ == Scope::kData ? Scope::kInput : scope_, key);
  return (seen_ >> static_cast<unsigned>(member - kMembers.data()) & 1U) != 0;
}

}  // namespace fastserve
