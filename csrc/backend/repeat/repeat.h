// The built-in `repeat` backend, decoupled, as Triton's: it answers a request with one response per
// element of IN (INT32 [-1]), OUT (INT32 [1]) and IDX (UINT32 [1]), each DELAY[i] (UINT32 [-1])
// milliseconds after the one before, and holds its instance for WAIT (UINT32 [1]) milliseconds.
#pragma once

#include <memory>

#include "backend/backend.h"

namespace fastserve {

std::unique_ptr<Backend> CreateRepeatBackend();

}  // namespace fastserve
