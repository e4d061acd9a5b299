// Runs batches of one model: the hot path of the ONNX Runtime backend.
#pragma once

#include <memory>
#include <vector>

#include "backend/backend.h"
#include "backend/onnxruntime/ort_session.h"
#include "backend/onnxruntime/ort_value.h"
#include "inference/model_spec.h"

namespace fastserve {

// Instances of a model share its session; each has its own arrays of names and values, so a run
// allocates only what the library itself does and one buffer per output. Synchronous (depth 1).
// Used by one thread at a time.
class OnnxInstance final : public BackendInstance {
 public:
  OnnxInstance(std::shared_ptr<const ModelSpec> spec, std::shared_ptr<const OrtSession> session);
  ~OnnxInstance() override;

  void Execute(Execution* execution, ExecutionObserver* observer) override;

 private:
  Status Run(Execution* execution);
  Status TakeOutputs(Execution* execution);
  void SelectOutputs(const Execution& execution);
  void ReleaseOutputs();
  Status Failed(const Status& status) const;

  const std::shared_ptr<const ModelSpec> spec_;
  const std::shared_ptr<const OrtSession> session_;
  OrtInputs inputs_;
  // Of the current run; the pointers are into spec_ or the execution.
  std::vector<const char*> output_names_;
  std::vector<ort::Value*> outputs_;
};

}  // namespace fastserve
