// Python exceptions from the status table: fastserve._core.FastserveError and one subclass per
// code.
#include <string>

#include "bindings/bindings.h"

namespace fastserve {

namespace py = pybind11;

void BindStatus(py::module_& module) {
  py::object base = py::reinterpret_steal<py::object>(
      PyErr_NewException("fastserve._core.FastserveError", PyExc_RuntimeError, nullptr));
  module.attr("FastserveError") = base;
  base.attr("http_status") = HttpStatus(StatusCode::kUnknown);
  base.attr("grpc_code") = GrpcCode(StatusCode::kUnknown);
  base.attr("triton_code") = std::string(StatusCodeName(StatusCode::kUnknown));
#define FASTSERVE_X(name, http, grpc, exception, triton)                         \
  {                                                                              \
    py::object type = py::reinterpret_steal<py::object>(                         \
        PyErr_NewException("fastserve._core." #exception, base.ptr(), nullptr)); \
    type.attr("http_status") = http;                                             \
    type.attr("grpc_code") = grpc;                                               \
    type.attr("triton_code") = triton;                                           \
    module.attr(#exception) = type;                                              \
  }
  FASTSERVE_STATUS_CODES(FASTSERVE_X)
#undef FASTSERVE_X
}

void ThrowIfError(const Status& status) {
  if (status.ok()) return;
  const std::string name(PythonExceptionName(status.code()));
  const py::object type = py::module_::import("fastserve._core").attr(name.c_str());
  py::set_error(type, status.message().c_str());
  throw py::error_already_set();
}

}  // namespace fastserve
