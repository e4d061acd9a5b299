// The generate extension: a flat JSON object <-> request and response. Members that name inputs are
// tensors, the others parameters. No sockets, threads or clocks. Source: Triton protocol
// extension_generate.md.
#pragma once

#include <string>

#include "base/status.h"
#include "inference/model_spec.h"
#include "inference/request.h"
#include "protocol/infer_json.h"

namespace fastserve {

// Fills request's id, inputs and parameters from `body`, which may be overwritten. A member that
// names an input of `spec`, at the top or inside "parameters", is that tensor:
//   a value, or a flat array: its elements fill the last variable dimension, batch dimension
//     included; other variable dimensions are 1;
//   nested arrays: their shape, behind a batch dimension of 1 where only that is missing.
// Errors: InvalidArgument with Triton's texts. Linear time; recursion bounded by max_depth.
Status ParseGenerateRequest(const BufferView& body, const InferJsonLimits& limits,
                            const ModelSpec& spec, InferRequest* request);

// Appends {"id","model_name","model_version",parameters,outputs}: an output of one element is a
// value, any other a flat array. response.status must be OK. Errors: as AppendJsonTensor; *json is
// then as it was.
Status AppendGenerateResponse(const InferResponse& response, std::string* json);

}  // namespace fastserve
