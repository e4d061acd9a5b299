// One loaded ONNX model: ONNX Runtime's session, the options of its runs, and what it says of its
// inputs and outputs.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backend/onnxruntime/onnx_file.h"
#include "backend/onnxruntime/ort_runtime.h"
#include "backend/onnxruntime/session_config.h"
#include "base/status.h"

namespace fastserve {

// Thread safe: any number of threads may run it at once. Immutable after creation.
class OrtSession {
 public:
  // Blocks: reads the file and optimises the graph. Errors: Unavailable (no such file), Internal
  // (ONNX Runtime's words).
  static Result<std::shared_ptr<const OrtSession>> Create(const OrtRuntime& runtime,
                                                          const std::string& path,
                                                          const SessionConfig& config,
                                                          const std::string& model_name);

  const OrtRuntime& runtime() const { return runtime_; }
  ort::Session* handle() const { return session_.get(); }
  const ort::RunOptions* run_options() const { return run_options_.get(); }

  // has_shape is false for rank 0: the library does not tell a scalar from an unknown rank.
  const std::vector<OnnxValue>& inputs() const { return inputs_; }
  const std::vector<OnnxValue>& outputs() const { return outputs_; }
  // Inputs that have a default in the file: they may be given, and need not be.
  const std::vector<OnnxValue>& defaulted_inputs() const { return defaulted_inputs_; }

 private:
  OrtSession(const OrtRuntime& runtime, OrtHandle<ort::Session> session,
             OrtHandle<ort::RunOptions> run_options)
      : runtime_(runtime), session_(std::move(session)), run_options_(std::move(run_options)) {}
  Status ReadValues();

  const OrtRuntime& runtime_;
  OrtHandle<ort::Session> session_;
  OrtHandle<ort::RunOptions> run_options_;
  std::vector<OnnxValue> inputs_;
  std::vector<OnnxValue> outputs_;
  std::vector<OnnxValue> defaulted_inputs_;
};

}  // namespace fastserve
