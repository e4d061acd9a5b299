// The knobs of one session, from the model's configuration and the backend's command line.
#pragma once

#include <optional>
#include <string>

#include "backend/onnxruntime/ort_runtime.h"
#include "base/status.h"
#include "inference/model_spec.h"

namespace fastserve {

// Names and meanings as in Triton's onnxruntime backend; thread counts of 0 leave the choice to the
// pool.
struct SessionConfig {
  int intra_op_threads = 0;
  int inter_op_threads = 0;
  // Share the process's pools. Off when a thread count is given, or with
  // enable-global-threadpool=0.
  bool shares_thread_pools = true;
  ort::ExecutionMode execution_mode = ort::ExecutionMode::kSequential;
  ort::GraphOptimization graph_optimization = ort::GraphOptimization::kAll;
  std::optional<bool> enable_mem_arena;
  std::optional<bool> enable_mem_pattern;
  std::optional<bool> use_device_allocator_for_initializers;
  // Given to every run; empty: no shrinkage.
  std::string memory_arena_shrinkage;
};

// Reads parameters intra_op_thread_count, inter_op_thread_count, execution_mode, level,
// enable_mem_arena, enable_mem_pattern, memory.enable_memory_arena_shrinkage,
// session.use_device_allocator_for_initializers and the backend option enable-global-threadpool.
// Errors: InvalidArgument with the model, the name, the value and what is allowed.
Result<SessionConfig> ReadSessionConfig(const ModelSpec& spec);

// The library's options object for `config`; `model_name` labels the session's log lines.
Result<OrtHandle<ort::SessionOptions>> MakeSessionOptions(const OrtRuntime& runtime,
                                                          const SessionConfig& config,
                                                          const std::string& model_name);

// The options of every run.
Result<OrtHandle<ort::RunOptions>> MakeRunOptions(const OrtRuntime& runtime,
                                                  const SessionConfig& config);

}  // namespace fastserve
