// The built-in `identity` backend: outputs are the inputs (OUTPUT<i> is INPUT<i>, by position),
// with Triton's delay parameters execute_delay_ms and instance_wise_delay_multiplier.
#pragma once

#include <memory>

#include "backend/backend.h"

namespace fastserve {

std::unique_ptr<Backend> CreateIdentityBackend();

}  // namespace fastserve
