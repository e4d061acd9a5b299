// Compares a model's configuration with what its file declares, when the model is loaded, so that a
// mistake is one clear sentence then and not an error per request later.
#pragma once

#include <vector>

#include "backend/onnxruntime/ort_session.h"
#include "base/status.h"
#include "inference/model_spec.h"

namespace fastserve {

// Every configured input and output exists with that data type and a compatible shape, every input
// without a default is configured, and a model that batches has a variable first dimension
// everywhere. Errors: InvalidArgument, naming the model, the tensor, both values and what to write.
Status CheckSpec(const ModelSpec& spec, const OrtSession& session);

}  // namespace fastserve
