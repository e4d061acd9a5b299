// Any body of a generate request.
#include <string>

#include "fuzz_support.h"
#include "protocol/generate_json.h"

namespace fastserve {
namespace {

ModelSpec FuzzedModel() {
  ModelSpec spec;
  spec.name = "model";
  spec.max_batch_size = 8;
  for (const auto& [name, type] :
       {std::pair{"TEXT", DataType::kBytes}, std::pair{"N", DataType::kInt32},
        std::pair{"X", DataType::kFp64}}) {
    TensorSpec input;
    input.name = name;
    input.type = type;
    input.dims = Shape{-1, 2};
    spec.inputs.push_back(input);
  }
  return spec;
}

}  // namespace
}  // namespace fastserve

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace fastserve;
  static const ModelSpec spec = FuzzedModel();
  InferJsonLimits limits;
  limits.max_input_bytes = 1U << 20U;
  InferRequest request;
  request.model_name = "model";
  if (!ParseGenerateRequest(ExactCopy(data, size), limits, spec, &request).ok()) return 0;
  InferResponse response;
  response.model_name = "model";
  response.id = request.id;
  response.parameters = request.parameters;
  response.outputs = request.inputs;
  // What was read can be written again.
  std::string json;
  FUZZ_CHECK(AppendGenerateResponse(response, &json).ok());
  FUZZ_CHECK(json.starts_with('{') && json.ends_with('}'));
  return 0;
}
