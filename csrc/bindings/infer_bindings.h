// In-process inference from Python (fastserve.InferenceServer): requests, the waiting call and the
// queue of completions.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>

#include "engine/engine.h"

namespace fastserve {

// (model_name, model_version, id, parameters, [(output name, data type, array)]), or an exception
// object. Needs the GIL.
pybind11::object ResponseToPython(const InferResponse& response);

// Adds InferRequest and InferCompletions, and `infer` and `submit` to the Engine class.
void BindInference(pybind11::module_& module,
                   pybind11::class_<Engine, std::shared_ptr<Engine>>& engine);

}  // namespace fastserve
