#include "backend/onnxruntime/ort_api.h"

namespace fastserve::ort {

Api Bind(const void* const* table) {
  Api api;
#define FASTSERVE_X(name, slot, result, arguments) \
  api.name = reinterpret_cast<result(*) arguments>(const_cast<void*>(table[slot]));
  FASTSERVE_ORT_FUNCTIONS(FASTSERVE_X)
#undef FASTSERVE_X
  return api;
}

}  // namespace fastserve::ort
