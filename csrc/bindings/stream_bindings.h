// In-process inference with many responses from Python (InferenceServer.infer_stream).
#pragma once

#include <pybind11/pybind11.h>

#include <memory>

#include "engine/engine.h"

namespace fastserve {

// Adds ResponseStream, and `infer_stream` and `submit_stream` to the Engine class.
void BindResponseStream(pybind11::module_& module,
                        pybind11::class_<Engine, std::shared_ptr<Engine>>& engine);

}  // namespace fastserve
