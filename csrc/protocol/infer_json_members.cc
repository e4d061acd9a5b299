// What the members and parameters of a request, its inputs and its outputs mean.
#include <limits>
#include <string>
#include <utility>

#include "protocol/infer_json_reader.h"
#include "protocol/input_tensor.h"
#include "protocol/parameters.h"

namespace fastserve {

namespace {

Status MissingMember(std::string_view key, const std::string& where) {
  const std::string name(key);
  return Status::InvalidArgument("Unable to parse '" + name +
                                 "': attempt to access non-existing object member '" + name + "'" +
                                 where);
}

}  // namespace

bool InferJsonReader::EndRoot() { return Seen("inputs") || Fail(MissingMember("inputs", "")); }

// --- data ---

bool InferJsonReader::StartData() {
  nested_ = 1;
  data_mode_ = DataMode::kUndecided;
  deferred_begin_ = stream_->position();
  if (!Seen("datatype") || !Seen("shape")) return true;
  data_mode_ = DataMode::kDirect;
  Status status = BeginTyped(size_ - stream_->Tell());
  return status.ok() || Fail(std::move(status));
}

// --- parameters ---

bool InferJsonReader::RequestParameter(const Scalar& value) {
  Parameter parameter;
  switch (value.kind) {
    case Kind::kNull:
      return Fail(ParameterTypeError(key_));
    case Kind::kBool:
      parameter = value.flag;
      break;
    case Kind::kNumber:
      parameter = NumberParameter(value.text);
      break;
    case Kind::kString:
      parameter = std::string(value.text);
      break;
  }
  Status status =
      ApplyRequestParameter(key_, std::move(parameter), ParameterDialect::kJson, request_);
  return status.ok() || Fail(std::move(status));
}

bool InferJsonReader::UnsignedParameter(const Scalar& value, std::uint64_t limit,
                                        std::uint64_t* out) {
  const auto number =
      value.kind == Kind::kNumber ? AsUnsigned(NumberParameter(value.text)) : std::nullopt;
  if (!number.has_value() || *number > limit) return Fail(JsonTypeError(key_, "unsigned-integer"));
  *out = *number;
  return true;
}

bool InferJsonReader::InputParameter(const Scalar& value) {
  if (key_ == "binary_data_size") {
    return UnsignedParameter(value, std::numeric_limits<std::uint64_t>::max(),
                             &binary_data_size_.emplace());
  }
  if (key_ == "shared_memory_region") region_ = value.text;
  return true;
}

bool InferJsonReader::OutputParameter(const Scalar& value) {
  RequestedOutput& output = request_->outputs.back();
  if (key_ == "binary_data") {
    if (value.kind != Kind::kBool) return Fail(JsonTypeError(key_, "boolean"));
    output.binary_data = value.flag;
    has_binary_data_ = true;
  } else if (key_ == "classification") {
    std::uint64_t count = 0;
    if (!UnsignedParameter(value, std::numeric_limits<std::uint32_t>::max(), &count)) return false;
    output.classification_count = static_cast<std::uint32_t>(count);
  } else if (key_ == "shared_memory_region") {
    region_ = value.text;
  }
  return true;
}

// --- tensors ---

bool InferJsonReader::StartTensor(Scope scope) {
  for (const Member& member : kMembers) {
    if (member.scope == scope) seen_ &= ~(1U << static_cast<unsigned>(&member - kMembers.data()));
  }
  scope_ = scope;
  region_.reset();
  if (scope == Scope::kInput) {
    request_->inputs.emplace_back();
    binary_data_size_.reset();
  } else {
    request_->outputs.emplace_back();
    has_binary_data_ = false;
  }
  return true;
}

bool InferJsonReader::EndOutput() {
  const RequestedOutput& output = request_->outputs.back();
  if (!Seen("name")) return Fail(MissingMember("name", " of an output"));
  if (region_.has_value()) return Fail(SharedMemoryNotOffered("output", output.name, *region_));
  if (!has_binary_data_) default_outputs_.push_back(request_->outputs.size() - 1);
  return true;
}

bool InferJsonReader::EndInput() {
  if (Status status = CheckInputMembers(); !status.ok()) return Fail(std::move(status));
  if (Status status = CheckInputSource(); !status.ok()) return Fail(std::move(status));
  if (region_.has_value()) return Fail(SharedMemoryNotOffered("input", input().name, *region_));
  if (auto count = InputElementCount(input()); !count.ok()) return Fail(count.status());
  binary_sizes_.push_back(binary_data_size_);
  if (binary_data_size_.has_value()) return true;
  Status status = FinishData();
  return status.ok() || Fail(std::move(status));
}

Status InferJsonReader::CheckInputMembers() const {
  for (const std::string_view key : {"name", "datatype", "shape"}) {
    if (!Seen(key)) return MissingMember(key, " of input '" + input().name + "'");
  }
  return Status::Ok();
}

Status InferJsonReader::CheckInputSource() const {
  const bool has_data = Seen("data");
  const int sources = int{has_data} + int{binary_data_size_.has_value()} + int{region_.has_value()};
  if (sources == 1) return Status::Ok();
  std::string text =
      "Input must set only one of the following fields: 'data', 'binary_data_size' in "
      "'parameters', "
      "'shared_memory_region' in 'parameters'. But";
  text += sources == 0 ? " no field is set" : " set";
  if (has_data) text += " 'data'";
  if (binary_data_size_.has_value()) text += " 'binary_data_size'";
  if (region_.has_value()) text += " 'shared_memory_region'";
  return Status::InvalidArgument(text + " for input '" + input().name + "'");
}

bool InferJsonReader::ShapeScalar(const Scalar& value) {
  const auto number =
      value.kind == Kind::kNumber ? AsUnsigned(NumberParameter(value.text)) : std::nullopt;
  if (!number.has_value() || *number > std::uint64_t{std::numeric_limits<std::int64_t>::max()}) {
    return Fail(JsonTypeError("shape", "unsigned-integer"));
  }
  input().shape.push_back(static_cast<std::int64_t>(*number));
  return true;
}

}  // namespace fastserve
