// The part of ONNX Runtime's C API that fastserve calls, declared here so that no header of ONNX
// Runtime is needed. OrtGetApiBase()->GetApi(version) returns a table of function pointers that is
// only ever appended to, so a slot number and a signature name a function for good. The tests check
// every slot against the installed library. Source:
// https://onnxruntime.ai/docs/api/c/struct_ort_api.html
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastserve::ort {

// Opaque objects of the library.
struct Status;
struct Env;
struct Session;
struct SessionOptions;
struct RunOptions;
struct ThreadingOptions;
struct MemoryInfo;
struct Value;
struct TypeInfo;
struct TensorInfo;
struct Allocator;

enum class LogSeverity : int { kVerbose = 0, kInfo = 1, kWarning = 2, kError = 3, kFatal = 4 };
enum class ExecutionMode : int { kSequential = 0, kParallel = 1 };
enum class GraphOptimization : int { kDisableAll = 0, kBasic = 1, kExtended = 2, kAll = 99 };
enum class AllocatorKind : int { kDevice = 0, kArena = 1 };
enum class MemoryKind : int { kDefault = 0 };
enum class ValueKind : int { kUnknown = 0, kTensor = 1 };

// ONNX's own numbers (TensorProto.DataType) of the element types that the Open Inference Protocol
// can carry.
enum class ElementType : int {
  kUndefined = 0,
  kFloat = 1,
  kUint8 = 2,
  kInt8 = 3,
  kUint16 = 4,
  kInt16 = 5,
  kInt32 = 6,
  kInt64 = 7,
  kString = 8,
  kBool = 9,
  kFloat16 = 10,
  kDouble = 11,
  kUint32 = 12,
  kUint64 = 13,
  kBfloat16 = 16,
};

using LogFunction = void (*)(void* context, LogSeverity severity, const char* category,
                             const char* log_id, const char* code_location, const char* message);

// The version of the API that fastserve asks for. API version N is ONNX Runtime 1.N; every later
// release offers it too.
inline constexpr std::uint32_t kApiVersion = 17;

// X(name, slot, result, arguments)
#define FASTSERVE_ORT_FUNCTIONS(X)                                                          \
  X(GetErrorCode, 1, int, (const Status*))                                                  \
  X(GetErrorMessage, 2, const char*, (const Status*))                                       \
  X(CreateSession, 7, Status*, (const Env*, const char*, const SessionOptions*, Session**)) \
  X(Run, 9, Status*,                                                                        \
    (Session*, const RunOptions*, const char* const*, const Value* const*, std::size_t,     \
     const char* const*, std::size_t, Value**))                                             \
  X(CreateSessionOptions, 10, Status*, (SessionOptions**))                                  \
  X(SetSessionExecutionMode, 13, Status*, (SessionOptions*, ExecutionMode))                 \
  X(EnableMemPattern, 16, Status*, (SessionOptions*))                                       \
  X(DisableMemPattern, 17, Status*, (SessionOptions*))                                      \
  X(EnableCpuMemArena, 18, Status*, (SessionOptions*))                                      \
  X(DisableCpuMemArena, 19, Status*, (SessionOptions*))                                     \
  X(SetSessionLogId, 20, Status*, (SessionOptions*, const char*))                           \
  X(SetSessionGraphOptimizationLevel, 23, Status*, (SessionOptions*, GraphOptimization))    \
  X(SetIntraOpNumThreads, 24, Status*, (SessionOptions*, int))                              \
  X(SetInterOpNumThreads, 25, Status*, (SessionOptions*, int))                              \
  X(SessionGetInputCount, 30, Status*, (const Session*, std::size_t*))                      \
  X(SessionGetOutputCount, 31, Status*, (const Session*, std::size_t*))                     \
  X(SessionGetOverridableInitializerCount, 32, Status*, (const Session*, std::size_t*))     \
  X(SessionGetInputTypeInfo, 33, Status*, (const Session*, std::size_t, TypeInfo**))        \
  X(SessionGetOutputTypeInfo, 34, Status*, (const Session*, std::size_t, TypeInfo**))       \
  X(SessionGetOverridableInitializerTypeInfo, 35, Status*,                                  \
    (const Session*, std::size_t, TypeInfo**))                                              \
  X(SessionGetInputName, 36, Status*, (const Session*, std::size_t, Allocator*, char**))    \
  X(SessionGetOutputName, 37, Status*, (const Session*, std::size_t, Allocator*, char**))   \
  X(SessionGetOverridableInitializerName, 38, Status*,                                      \
    (const Session*, std::size_t, Allocator*, char**))                                      \
  X(CreateRunOptions, 39, Status*, (RunOptions**))                                          \
  X(CreateTensorAsOrtValue, 48, Status*,                                                    \
    (Allocator*, const std::int64_t*, std::size_t, ElementType, Value**))                   \
  X(CreateTensorWithDataAsOrtValue, 49, Status*,                                            \
    (const MemoryInfo*, void*, std::size_t, const std::int64_t*, std::size_t, ElementType,  \
     Value**))                                                                              \
  X(IsTensor, 50, Status*, (const Value*, int*))                                            \
  X(GetTensorMutableData, 51, Status*, (Value*, void**))                                    \
  X(GetStringTensorDataLength, 53, Status*, (const Value*, std::size_t*))                   \
  X(GetStringTensorContent, 54, Status*,                                                    \
    (const Value*, void*, std::size_t, std::size_t*, std::size_t))                          \
  X(CastTypeInfoToTensorInfo, 55, Status*, (const TypeInfo*, const TensorInfo**))           \
  X(GetOnnxTypeFromTypeInfo, 56, Status*, (const TypeInfo*, ValueKind*))                    \
  X(GetTensorElementType, 60, Status*, (const TensorInfo*, ElementType*))                   \
  X(GetDimensionsCount, 61, Status*, (const TensorInfo*, std::size_t*))                     \
  X(GetDimensions, 62, Status*, (const TensorInfo*, std::int64_t*, std::size_t))            \
  X(GetSymbolicDimensions, 63, Status*, (const TensorInfo*, const char**, std::size_t))     \
  X(GetTensorTypeAndShape, 65, Status*, (const Value*, TensorInfo**))                       \
  X(CreateCpuMemoryInfo, 69, Status*, (AllocatorKind, MemoryKind, MemoryInfo**))            \
  X(AllocatorFree, 76, Status*, (Allocator*, void*))                                        \
  X(GetAllocatorWithDefaultOptions, 78, Status*, (Allocator**))                             \
  X(ReleaseStatus, 93, void, (Status*))                                                     \
  X(ReleaseMemoryInfo, 94, void, (MemoryInfo*))                                             \
  X(ReleaseSession, 95, void, (Session*))                                                   \
  X(ReleaseValue, 96, void, (Value*))                                                       \
  X(ReleaseRunOptions, 97, void, (RunOptions*))                                             \
  X(ReleaseTypeInfo, 98, void, (TypeInfo*))                                                 \
  X(ReleaseTensorInfo, 99, void, (TensorInfo*))                                             \
  X(ReleaseSessionOptions, 100, void, (SessionOptions*))                                    \
  X(DisablePerSessionThreads, 120, Status*, (SessionOptions*))                              \
  X(CreateThreadingOptions, 121, Status*, (ThreadingOptions**))                             \
  X(ReleaseThreadingOptions, 122, void, (ThreadingOptions*))                                \
  X(AddSessionConfigEntry, 130, Status*, (SessionOptions*, const char*, const char*))       \
  X(SetGlobalIntraOpNumThreads, 147, Status*, (ThreadingOptions*, int))                     \
  X(SetGlobalInterOpNumThreads, 148, Status*, (ThreadingOptions*, int))                     \
  X(SetGlobalSpinControl, 149, Status*, (ThreadingOptions*, int))                           \
  X(CreateEnvWithCustomLoggerAndGlobalThreadPools, 151, Status*,                            \
    (LogFunction, void*, LogSeverity, const char*, const ThreadingOptions*, Env**))         \
  X(AddRunConfigEntry, 165, Status*, (RunOptions*, const char*, const char*))               \
  X(GetResizedStringTensorElementBuffer, 252, Status*, (Value*, std::size_t, std::size_t, char**))

// The functions above by name. Filled once by Bind; the pointers live as long as the library.
struct Api {
#define FASTSERVE_X(name, slot, result, arguments) result(*name) arguments = nullptr;
  FASTSERVE_ORT_FUNCTIONS(FASTSERVE_X)
#undef FASTSERVE_X
};

// What OrtGetApiBase returns.
struct ApiBase {
  const void* const* (*GetApi)(
      std::uint32_t version);  // null when the library is older than `version`
  const char* (*GetVersionString)();
};

// The functions by name from a table that GetApi returned.
Api Bind(const void* const* table);

}  // namespace fastserve::ort
