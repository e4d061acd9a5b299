// Executions of an instance before its model is ready, with inputs that the configuration describes
// (`model_warmup`). Source: Triton's ModelWarmup (model_config.proto).
#pragma once

#include "backend/backend.h"
#include "base/status.h"
#include "inference/model_spec.h"

namespace fastserve {

// Runs every sample of spec.warmup on the instance, which nothing else uses yet. Blocks. Errors
// name the sample: InvalidArgument for a file that does not fit, else the backend's.
Status WarmUp(const ModelSpec& spec, BackendInstance* instance);

}  // namespace fastserve
