// ONNX element types and the protocol's data types, both ways.
#pragma once

#include "backend/onnxruntime/ort_api.h"
#include "inference/data_type.h"

namespace fastserve {

// X(protocol data type, ONNX element type)
#define FASTSERVE_ORT_ELEMENT_TYPES(X) \
  X(kBool, kBool)                      \
  X(kUint8, kUint8)                    \
  X(kUint16, kUint16)                  \
  X(kUint32, kUint32)                  \
  X(kUint64, kUint64)                  \
  X(kInt8, kInt8)                      \
  X(kInt16, kInt16)                    \
  X(kInt32, kInt32)                    \
  X(kInt64, kInt64)                    \
  X(kFp16, kFloat16)                   \
  X(kFp32, kFloat)                     \
  X(kFp64, kDouble)                    \
  X(kBytes, kString)                   \
  X(kBf16, kBfloat16)

// kUndefined for kInvalid.
constexpr ort::ElementType ToElementType(DataType type) {
  switch (type) {
#define FASTSERVE_X(data_type, element_type) \
  case DataType::data_type:                  \
    return ort::ElementType::element_type;
    FASTSERVE_ORT_ELEMENT_TYPES(FASTSERVE_X)
#undef FASTSERVE_X
    case DataType::kInvalid:
      break;
  }
  return ort::ElementType::kUndefined;
}

// kInvalid for an element type that the protocol cannot carry (complex, 8- and 4-bit floats, ...).
constexpr DataType ToDataType(ort::ElementType type) {
  switch (type) {
#define FASTSERVE_X(data_type, element_type) \
  case ort::ElementType::element_type:       \
    return DataType::data_type;
    FASTSERVE_ORT_ELEMENT_TYPES(FASTSERVE_X)
#undef FASTSERVE_X
    default:
      return DataType::kInvalid;
  }
}

}  // namespace fastserve
