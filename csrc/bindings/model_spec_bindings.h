// Conversions between the control plane's dicts and the core's plain structs.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>

#include "backend/backend.h"
#include "inference/model_spec.h"

namespace fastserve {

// A ModelSpec from a dict whose keys are the names of ModelSpec's members; missing keys keep their
// defaults. An unknown data type raises InvalidArgumentError, a wrong Python type raises TypeError.
std::shared_ptr<const ModelSpec> ModelSpecFromDict(const pybind11::dict& values);

// {"inputs": [{"name", "data_type" (protocol name), "dims", "dim_names"}], "outputs": [...]}
pybind11::dict SignatureToDict(const ModelSignature& signature);

}  // namespace fastserve
