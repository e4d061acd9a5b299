// KServe v2 inference over HTTP: JSON with the binary-tensor extension, bytes <-> request/response.
// No sockets, threads or clocks. Source: Open Inference Protocol "Inference Request JSON Object",
// Triton protocol extension_binary_data.md, extension_parameters.md, extension_classification.md,
// extension_sequence.md, extension_schedule_policy.md.
#pragma once

#include <cstddef>
#include <string>

#include "base/status.h"
#include "inference/request.h"
#include "inference/response.h"
#include "protocol/wire.h"

namespace fastserve {

struct InferJsonLimits {
  std::size_t max_input_bytes =
      67108864;  // --http-max-input-size: JSON text and what it expands to
  int max_depth = 100;
};

// Fills request's id, inputs, outputs, parameters and sequence/priority/timeout fields from a body
// whose first `json_size` bytes are JSON and the rest binary tensors in the order of the inputs.
// Binary tensors become views into `body` (no copy; copied only when misaligned for their element
// size). The JSON bytes of `body` may be overwritten (parsed in place). NaN and Infinity literals
// are read. model_name/model_version are not touched. Errors: InvalidArgument with Triton's texts
// (COMPAT.md). Linear time; recursion bounded by max_depth.
Status ParseInferRequest(const BufferView& body, std::size_t json_size,
                         const InferJsonLimits& limits, InferRequest* request);

// The response body; *json_size receives the length of its JSON part, 0 when the whole body is JSON
// (then no Inference-Header-Content-Length is sent). An output is binary when the request asked for
// it (binary_data per output, else binary_data_output). response.status must be OK. NaN and
// Infinity are written as literals.
Status BuildInferResponse(const InferRequest& request, const InferResponse& response,
                          WireMessage* body, std::size_t* json_size);

// {"error":"..."}, escaped.
std::string ErrorJson(std::string_view message);

}  // namespace fastserve
