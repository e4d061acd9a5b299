// The native ONNX Runtime backend over the C API of the shared library in the user's onnxruntime
// wheel, loaded at run time. No ONNX Runtime at build time.
#pragma once

#include <memory>
#include <string>

#include "backend/backend.h"

namespace fastserve {

struct OnnxRuntimeOptions {
  // Path of libonnxruntime.so.1.*; found by the control plane in the installed wheel.
  std::string library_path;
  // Size of the process-wide intra-op pool shared by all sessions; 0 = one per core this process
  // may use.
  int global_intra_op_threads = 0;
  int global_inter_op_threads = 0;
  // Whether workers of the shared pool that run out of work spin for a moment (some ten
  // milliseconds) before they sleep. Off saves CPU between runs; on spares each parallel operator a
  // wake-up, which makes the difference between the speed of onnxruntime's own loop and three
  // quarters of it.
  bool allow_spinning = true;
};

// Loads the library and creates the process-wide OrtEnv (once per process, shared by all engines,
// with global thread pools). Errors: Unavailable (cannot be loaded, or too old: says
// which API version is needed).
Result<std::unique_ptr<Backend>> CreateOnnxRuntimeBackend(const OnnxRuntimeOptions& options);

}  // namespace fastserve
