// One function per bound area; module.cc calls them all.
#pragma once

#include <pybind11/pybind11.h>

#include "base/status.h"

namespace fastserve {

void BindStatus(pybind11::module_& module);  // status_bindings.cc: exceptions from the status table
void BindLog(pybind11::module_& module);     // log_bindings.cc
void BindEngine(
    pybind11::module_& module);  // engine_bindings.cc: Engine, ModelSpec, in-process inference
void BindHttp(pybind11::module_& module);  // http_bindings.cc
void BindGrpc(pybind11::module_& module);  // grpc_bindings.cc
void BindPerf(pybind11::module_& module);  // perf_bindings.cc

// Raises the Python exception of a status that is not OK. Needs the GIL.
void ThrowIfError(const Status& status);

template <typename T>
T ValueOrThrow(Result<T> result) {
  ThrowIfError(result.status());
  return std::move(result).value();
}

}  // namespace fastserve
