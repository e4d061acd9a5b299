#include "backend/onnxruntime/onnx_instance.h"

#include <string>
#include <utility>

namespace fastserve {

OnnxInstance::OnnxInstance(std::shared_ptr<const ModelSpec> spec,
                           std::shared_ptr<const OrtSession> session)
    : spec_(std::move(spec)), session_(std::move(session)), inputs_(session_->runtime()) {}

OnnxInstance::~OnnxInstance() { ReleaseOutputs(); }

void OnnxInstance::Execute(Execution* execution, ExecutionObserver* observer) {
  Status status = Run(execution);
  inputs_.Clear();
  if (!status.ok()) {
    ReleaseOutputs();
    execution->outputs.clear();
    status = Failed(status);
  }
  observer->OnExecuted(execution, std::move(status));
}

Status OnnxInstance::Run(Execution* execution) {
  FASTSERVE_RETURN_IF_ERROR(inputs_.Set(execution->inputs));
  SelectOutputs(*execution);
  const OrtRuntime& runtime = session_->runtime();
  FASTSERVE_RETURN_IF_ORT_ERROR(
      runtime, runtime.api().Run(session_->handle(), session_->run_options(), inputs_.names(),
                                 inputs_.values(), inputs_.size(), output_names_.data(),
                                 output_names_.size(), outputs_.data()));
  return TakeOutputs(execution);
}

void OnnxInstance::SelectOutputs(const Execution& execution) {
  output_names_.clear();
  if (execution.requested_outputs.empty()) {
    for (const TensorSpec& output : spec_->outputs) output_names_.push_back(output.name.c_str());
  } else {
    for (const std::string& name : execution.requested_outputs)
      output_names_.push_back(name.c_str());
  }
  outputs_.assign(output_names_.size(), nullptr);
}

Status OnnxInstance::TakeOutputs(Execution* execution) {
  const OrtRuntime& runtime = session_->runtime();
  execution->outputs.reserve(outputs_.size());
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    OrtHandle<ort::Value> value(std::exchange(outputs_[i], nullptr), runtime.api().ReleaseValue);
    Tensor& tensor = execution->outputs.emplace_back();
    tensor.name = output_names_[i];
    if (value == nullptr) return Status::Internal("output '" + tensor.name + "' was not computed");
    FASTSERVE_RETURN_IF_ERROR(TakeOutput(runtime, std::move(value), inputs_, &tensor));
    if (spec_->max_batch_size > 0 && FindBatchOutput(*spec_, tensor.name) == nullptr &&
        (tensor.shape.empty() || tensor.shape[0] != execution->batch_size)) {
      return Status::Internal("output '" + tensor.name + "' has shape " +
                              ShapeToString(tensor.shape) +
                              ", expected the first dimension to be the batch of " +
                              std::to_string(execution->batch_size));
    }
  }
  return Status::Ok();
}

void OnnxInstance::ReleaseOutputs() {
  for (ort::Value* value : outputs_) {
    if (value != nullptr) session_->runtime().api().ReleaseValue(value);
  }
  outputs_.clear();
}

Status OnnxInstance::Failed(const Status& status) const {
  return {status.code(), "model '" + spec_->name + "': " + status.message()};
}

}  // namespace fastserve
