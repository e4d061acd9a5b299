// A request whose body is the bytes of the model's only input, without JSON. Source: Triton
// protocol extension_binary_data.md, "Raw Binary Request".
#pragma once

#include "base/status.h"
#include "inference/model_spec.h"
#include "inference/request.h"

namespace fastserve {

// Fills `request` with the one input of `spec` as a view of `body`, a batch of one; its one
// variable dimension follows from the size. A BYTES input is one element: all of the body. Outputs
// are asked for as binary. Errors: InvalidArgument when the model has several inputs or the shape
// does not follow.
Status ParseRawRequest(const BufferView& body, const ModelSpec& spec, InferRequest* request);

}  // namespace fastserve
