// The tensor data types of the Open Inference Protocol (KServe v2) with Triton's configuration
// names.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace fastserve {

// X(enumerator, protocol name, configuration name, bytes per element; 0 = variable)
#define FASTSERVE_DATA_TYPES(X)          \
  X(kBool, "BOOL", "TYPE_BOOL", 1)       \
  X(kUint8, "UINT8", "TYPE_UINT8", 1)    \
  X(kUint16, "UINT16", "TYPE_UINT16", 2) \
  X(kUint32, "UINT32", "TYPE_UINT32", 4) \
  X(kUint64, "UINT64", "TYPE_UINT64", 8) \
  X(kInt8, "INT8", "TYPE_INT8", 1)       \
  X(kInt16, "INT16", "TYPE_INT16", 2)    \
  X(kInt32, "INT32", "TYPE_INT32", 4)    \
  X(kInt64, "INT64", "TYPE_INT64", 8)    \
  X(kFp16, "FP16", "TYPE_FP16", 2)       \
  X(kFp32, "FP32", "TYPE_FP32", 4)       \
  X(kFp64, "FP64", "TYPE_FP64", 8)       \
  X(kBytes, "BYTES", "TYPE_STRING", 0)   \
  X(kBf16, "BF16", "TYPE_BF16", 2)

enum class DataType : std::uint8_t {
  kInvalid = 0,
#define FASTSERVE_X(name, protocol, config, size) name,
  FASTSERVE_DATA_TYPES(FASTSERVE_X)
#undef FASTSERVE_X
};

// "FP32", "BYTES"; "INVALID" for kInvalid.
std::string_view DataTypeName(DataType type);
// Bytes per element; 0 for kBytes and kInvalid.
std::size_t DataTypeByteSize(DataType type);
// From a protocol name ("FP32") or a configuration name ("TYPE_FP32"); nullopt when neither.
std::optional<DataType> ParseDataType(std::string_view name);

}  // namespace fastserve
