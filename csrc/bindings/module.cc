// The extension module fastserve._core.
#include "bindings/bindings.h"

PYBIND11_MODULE(_core, module) {
  module.doc() = "fastserve's data plane: engine, HTTP and gRPC front ends, load generator.";
  fastserve::BindStatus(module);
  fastserve::BindLog(module);
  fastserve::BindEngine(module);
  fastserve::BindHttp(module);
  fastserve::BindGrpc(module);
  fastserve::BindPerf(module);
}
