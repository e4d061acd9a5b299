// Any body of an inference request over HTTP. The first four bytes of the input are the size of the
// JSON part.
#include <string>

#include "fuzz_support.h"
#include "protocol/infer_json.h"

namespace fastserve {
namespace {

// What was read can be written again, and the answer's sizes agree.
void CheckEcho(const InferRequest& request) {
  InferResponse response;
  response.model_name = "model";
  response.id = request.id;
  response.outputs = request.inputs;
  response.parameters = request.parameters;
  WireMessage body;
  std::size_t json_size = 0;
  const Status status = BuildInferResponse(request, response, &body, &json_size);
  if (!status.ok()) return;
  FUZZ_CHECK(body.Flatten().size() == body.size());
  FUZZ_CHECK(json_size <= body.size());
}

void CheckInput(const Tensor& input, std::size_t body_size) {
  FUZZ_CHECK(input.type != DataType::kInvalid);
  // JSON grows at most eightfold, binary data not at all.
  FUZZ_CHECK(input.data.size <= 8 * body_size);
  for (std::size_t i = 0; i < input.data.size; i += 4096)
    static_cast<void>(*const_cast<volatile std::byte*>(input.data.data + i));
}

}  // namespace
}  // namespace fastserve

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace fastserve;
  std::uint32_t json_size = 0;
  if (size < sizeof(json_size)) return 0;
  std::memcpy(&json_size, data, sizeof(json_size));
  const BufferView body = ExactCopy(data + sizeof(json_size), size - sizeof(json_size));
  InferRequest request;
  request.model_name = "model";
  const Status status =
      ParseInferRequest(body, json_size, {.max_input_bytes = 1U << 20U}, &request);
  if (!status.ok()) {
    FUZZ_CHECK(!ErrorJson(status.message()).empty());
    return 0;
  }
  for (const Tensor& input : request.inputs) CheckInput(input, body.size);
  CheckEcho(request);
  return 0;
}
