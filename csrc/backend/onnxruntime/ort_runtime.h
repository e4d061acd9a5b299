// The loaded ONNX Runtime library: its functions, and the one environment of the process with the
// thread pools that all sessions share.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "backend/onnxruntime/onnxruntime_backend.h"
#include "backend/onnxruntime/ort_api.h"
#include "base/status.h"

namespace fastserve {

// An object of the library that its Release function gives back.
template <typename T>
using OrtHandle = std::unique_ptr<T, void (*)(T*)>;

// Process-wide, created once, never destroyed: the library's worker threads must not be joined by
// static destructors. Thread safe; immutable after creation.
class OrtRuntime {
 public:
  // The process's runtime; the first successful call loads `options.library_path` and decides the
  // size of the thread pools, later calls return the same object. Blocks. Errors: Unavailable
  // (cannot be loaded, too old, or another library is loaded already).
  static Result<const OrtRuntime*> Get(const OnnxRuntimeOptions& options);

  OrtRuntime(const OrtRuntime&) = delete;
  OrtRuntime& operator=(const OrtRuntime&) = delete;

  const ort::Api& api() const { return api_; }
  const ort::Env* env() const { return env_; }
  // Describes ordinary host memory, for tensors over foreign bytes.
  const ort::MemoryInfo* host_memory() const { return host_memory_; }
  ort::Allocator* allocator() const { return allocator_; }
  // "1.32.0"
  const std::string& version() const { return version_; }
  int intra_op_threads() const { return intra_op_threads_; }

  // OK for null; else Internal with ONNX Runtime's code and message. Takes the status.
  Status ToStatus(ort::Status* status) const;

 private:
  OrtRuntime() = default;
  static Result<const OrtRuntime*> Load(const OnnxRuntimeOptions& options);
  Status CreateEnv(const OnnxRuntimeOptions& options);

  std::string library_path_;
  std::string version_;
  ort::Api api_;
  ort::Env* env_ = nullptr;
  ort::MemoryInfo* host_memory_ = nullptr;
  ort::Allocator* allocator_ = nullptr;
  int intra_op_threads_ = 0;
};

// The N of a version "1.N.x"; 0 when it is not of that form.
int ApiVersionOfRelease(std::string_view release);

// Returns from a function with the error of an API call, if it has one.
#define FASTSERVE_RETURN_IF_ORT_ERROR(runtime, expression) \
  FASTSERVE_RETURN_IF_ERROR((runtime).ToStatus(expression))

}  // namespace fastserve
