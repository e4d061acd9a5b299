// Any bytes as an inference.ModelInferRequest.
#include <span>

#include "fuzz_support.h"
#include "protocol/infer_proto.h"

namespace fastserve {
namespace {

void CheckEcho(const InferRequest& request) {
  InferResponse response;
  response.model_name = request.model_name;
  response.id = request.id;
  response.outputs = request.inputs;
  response.parameters = request.parameters;
  WireMessage message;
  FUZZ_CHECK(BuildModelInferResponse(request, response, &message).ok());
  const std::size_t size = message.size();
  FUZZ_CHECK(BuildModelStreamInferResponse(request, response, &message).ok());
  FUZZ_CHECK(message.Flatten().size() > size);
}

}  // namespace
}  // namespace fastserve

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace fastserve;
  const BufferView message = ExactCopy(data, size);
  const auto offset = FirstRawInputOffset(std::span(message.data, message.size));
  FUZZ_CHECK(offset.value_or(0) <= size);
  InferRequest request;
  if (!ParseModelInferRequest(message, &request).ok()) return 0;
  for (const Tensor& input : request.inputs) {
    FUZZ_CHECK(input.type != DataType::kInvalid);
    // A varint of one byte becomes at most eight, an empty string of two bytes four.
    FUZZ_CHECK(input.data.size <= 8 * size);
  }
  CheckEcho(request);
  return 0;
}
