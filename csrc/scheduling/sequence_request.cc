#include "scheduling/sequence_request.h"

#include <limits>
#include <string>
#include <variant>

namespace fastserve {

namespace {

std::string ControlPlace(const ControlSpec& control, const ModelSpec& spec) {
  return "control input '" + control.input_name + "' of model '" + spec.name + "' has data type " +
         std::string(DataTypeName(control.type));
}

// The largest number that the control tensor holds.
std::uint64_t LargestId(DataType type) {
  switch (type) {
    case DataType::kInt32:
      return std::numeric_limits<std::int32_t>::max();
    case DataType::kUint32:
      return std::numeric_limits<std::uint32_t>::max();
    case DataType::kInt64:
      return std::numeric_limits<std::int64_t>::max();
    default:
      return std::numeric_limits<std::uint64_t>::max();
  }
}

Status CheckIdFits(const InferRequest& request, const ControlSpec& control) {
  const auto* number = std::get_if<std::uint64_t>(&request.sequence_id);
  const bool wants_text = control.type == DataType::kBytes;
  if ((number == nullptr) != wants_text) {
    return Status::InvalidArgument(
        "sequence_id is a " + std::string(number != nullptr ? "number" : "string") + " but " +
        ControlPlace(control, *request.spec) + "; send a " + (wants_text ? "string" : "number"));
  }
  if (number == nullptr || *number <= LargestId(control.type)) return Status::Ok();
  return Status::InvalidArgument("sequence_id " + std::to_string(*number) + " is too large: " +
                                 ControlPlace(control, *request.spec) + ", which holds at most " +
                                 std::to_string(LargestId(control.type)));
}

}  // namespace

bool HasSequenceId(const InferRequest& request) {
  const auto* number = std::get_if<std::uint64_t>(&request.sequence_id);
  return number != nullptr ? *number != 0 : !std::get<std::string>(request.sequence_id).empty();
}

std::string SequenceIdText(const InferRequest& request) {
  const auto* number = std::get_if<std::uint64_t>(&request.sequence_id);
  return number != nullptr ? std::to_string(*number) : std::get<std::string>(request.sequence_id);
}

Status CheckSequenceRequest(const InferRequest& request) {
  const ModelSpec& spec = *request.spec;
  const bool has_id = HasSequenceId(request);
  if (!has_id && !spec.sequence_batching.iterative) {
    return Status::InvalidArgument("inference request to model '" + spec.name +
                                   "' must specify a non-zero or non-empty correlation ID");
  }
  if (request.batch_size != 1) {
    return Status::InvalidArgument("inference request to model '" + spec.name +
                                   "' must specify batch-size 1 due to requirements of sequence "
                                   "batcher, got " +
                                   std::to_string(request.batch_size));
  }
  const auto* text = std::get_if<std::string>(&request.sequence_id);
  if (text != nullptr && text->size() > kMaxSequenceIdBytes) {
    return Status::InvalidArgument("sequence_id has " + std::to_string(text->size()) +
                                   " bytes, at most " + std::to_string(kMaxSequenceIdBytes) +
                                   " are allowed");
  }
  if (!has_id) return Status::Ok();  // the batcher chooses one
  for (const ControlSpec& control : spec.sequence_batching.controls) {
    if (control.kind == ControlKind::kCorrelationId)
      FASTSERVE_RETURN_IF_ERROR(CheckIdFits(request, control));
  }
  return Status::Ok();
}

Status SequenceNotStarted(const InferRequest& request) {
  return Status::InvalidArgument("inference request for sequence " + SequenceIdText(request) +
                                 " to model '" + request.spec->name +
                                 "' must specify the START flag on the first request of the "
                                 "sequence");
}

}  // namespace fastserve
