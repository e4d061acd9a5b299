// An inference request over HTTP: the JSON, then the binary tensors that follow it in the order of
// the inputs.
#include "protocol/infer_json.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>

#include "protocol/infer_json_reader.h"
#include "protocol/input_tensor.h"

namespace fastserve {

namespace {

// Gives every input with a binary_data_size its bytes. Nothing may be missing and nothing left
// over.
Status AttachBinaryData(const BufferView& binary, const InferJsonReader& reader,
                        InferRequest* request) {
  std::size_t offset = 0;
  for (std::size_t i = 0; i < request->inputs.size(); ++i) {
    const auto size = reader.binary_data_size(i);
    if (!size.has_value()) continue;
    Tensor& input = request->inputs[i];
    const std::size_t left = binary.size - offset;
    if (*size > left) {
      return Status::InvalidArgument("unexpected size for input '" + input.name + "', expecting " +
                                     std::to_string(*size - left) +
                                     " additional bytes for model '" + request->model_name + "'");
    }
    FASTSERVE_ASSIGN_OR_RETURN(input.data, AlignedForType(binary.Slice(offset, *size), input.type));
    offset += *size;
  }
  if (offset == binary.size) return Status::Ok();
  return Status::InvalidArgument(
      "unexpected additional input data for model '" + request->model_name +
      "': " + std::to_string(binary.size - offset) + " bytes after the last binary input");
}

}  // namespace

Status ParseInferRequest(const BufferView& body, std::size_t json_size,
                         const InferJsonLimits& limits, InferRequest* request) {
  if (json_size > body.size) {
    return Status::InvalidArgument("inference header size should be in range (0, " +
                                   std::to_string(body.size) +
                                   "), got: " + std::to_string(json_size));
  }
  // RapidJSON counts the characters of a string in 32 bits.
  const std::size_t limit =
      std::min<std::size_t>(limits.max_input_bytes, std::numeric_limits<std::uint32_t>::max());
  if (json_size > limit) return JsonTooLarge(json_size, limit);
  InferJsonReader reader(limits, request);
  FASTSERVE_RETURN_IF_ERROR(reader.Read(reinterpret_cast<char*>(body.data), json_size));
  return AttachBinaryData(body.Slice(json_size, body.size - json_size), reader, request);
}

}  // namespace fastserve
