// What a backend answered, as the client asked for it.
#pragma once

#include "inference/model_spec.h"
#include "inference/request.h"
#include "inference/response.h"
#include "inference/tensor.h"

namespace fastserve {

// Adds an output of the backend's, unless the request did not ask for it: in the configured shape,
// and classified if that was asked for. An output that the configuration does not list passes as it
// is. What cannot be classified becomes the status of the response.
void AddOutput(const ModelSpec& spec, Tensor tensor, const InferRequest& request,
               InferResponse* response);

}  // namespace fastserve
