// Core memory through Python's buffer protocol.
#pragma once

#include <pybind11/pybind11.h>

#include "memory/buffer.h"

namespace fastserve {

// A read-only memoryview of `view`, which stays alive as long as the memoryview does. Needs the
// GIL.
pybind11::object ExportBuffer(BufferView view);

}  // namespace fastserve
