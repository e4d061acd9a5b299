#include "backend/onnxruntime/spec_check.h"

#include <string>
#include <string_view>

namespace fastserve {

namespace {

const OnnxValue* FindValue(const std::vector<OnnxValue>& values, std::string_view name) {
  for (const OnnxValue& value : values) {
    if (value.tensor.name == name) return &value;
  }
  return nullptr;
}

std::string JoinNames(const std::vector<OnnxValue>& values) {
  std::string text;
  for (const OnnxValue& value : values)
    text += (text.empty() ? "'" : ", '") + value.tensor.name + "'";
  return text.empty() ? "none" : text;
}

// The shape the backend sees: with the batch dimension, after `reshape`.
Shape FullShape(const TensorSpec& tensor, bool batches) {
  Shape shape;
  if (batches) shape.push_back(-1);
  const Shape& dims = tensor.has_reshape ? tensor.reshape : tensor.dims;
  shape.insert(shape.end(), dims.begin(), dims.end());
  return shape;
}

bool Compatible(const Shape& configured, const Shape& declared) {
  if (configured.size() != declared.size()) return false;
  for (std::size_t i = 0; i < declared.size(); ++i) {
    if (configured[i] != declared[i] && configured[i] != -1 && declared[i] != -1) return false;
  }
  return true;
}

// Ragged inputs and batch inputs have one dimension, which varies.
Status CheckFlat(const std::string& place, const OnnxValue& value) {
  if (!value.has_shape || value.tensor.shape == Shape(1, -1)) return Status::Ok();
  return Status::InvalidArgument(place + " has shape " + ShapeToString(value.tensor.shape) +
                                 " in the model file, expected [-1]: what allow_ragged_batch and "
                                 "batch_input give a model has one dimension, which varies");
}

Status CheckShape(const ModelSpec& spec, const std::string& place, const TensorSpec& tensor,
                  const OnnxValue& value) {
  if (tensor.allow_ragged_batch) return CheckFlat(place, value);
  if (!value.has_shape || FindBatchOutput(spec, tensor.name) != nullptr) return Status::Ok();
  const Shape& declared = value.tensor.shape;
  const bool batches = spec.max_batch_size > 0;
  if (batches && declared[0] != -1 && declared[0] != spec.max_batch_size) {
    return Status::InvalidArgument(
        place + " has the fixed first dimension " + std::to_string(declared[0]) +
        " in the model file, so the model cannot batch: write 'max_batch_size: 0' instead of " +
        std::to_string(spec.max_batch_size) + " and dims that hold the whole shape " +
        ShapeToString(declared));
  }
  const Shape configured = FullShape(tensor, batches);
  if (Compatible(configured, declared)) return Status::Ok();
  Shape expected(declared.begin() + (batches ? 1 : 0), declared.end());
  return Status::InvalidArgument(place + " has shape " + ShapeToString(declared) +
                                 " in the model file but the configuration makes it " +
                                 ShapeToString(configured) +
                                 (batches ? " (the batch dimension and dims)" : "") +
                                 ": write dims " + ShapeToString(expected));
}

Status CheckTensor(const ModelSpec& spec, const std::string& place, const TensorSpec& tensor,
                   const OnnxValue& value) {
  if (value.kind != "tensor") {
    return Status::InvalidArgument(place + " is a " + value.kind +
                                   " in the model file, which cannot be served");
  }
  if (tensor.type != value.tensor.type) {
    return Status::InvalidArgument(
        place + " has data type " + std::string(DataTypeName(value.tensor.type)) +
        " in the model file but " + std::string(DataTypeName(tensor.type)) +
        " in the configuration");
  }
  return CheckShape(spec, place, tensor, value);
}

Status CheckInputs(const ModelSpec& spec, const OrtSession& session, const std::string& model) {
  const std::vector<TensorSpec> configured = BackendInputs(spec);
  for (const TensorSpec& input : configured) {
    const OnnxValue* value = FindValue(session.inputs(), input.name);
    const bool has_default = value == nullptr;
    if (has_default) value = FindValue(session.defaulted_inputs(), input.name);
    if (value == nullptr) {
      return Status::InvalidArgument(model + "unexpected input '" + input.name +
                                     "' in the configuration; the model file has " +
                                     JoinNames(session.inputs()));
    }
    // A default has no batch dimension of its own, whatever the model does.
    if (has_default) continue;
    FASTSERVE_RETURN_IF_ERROR(
        CheckTensor(spec, model + "input '" + input.name + "'", input, *value));
  }
  for (const OnnxValue& value : session.inputs()) {
    if (FindTensor(configured, value.tensor.name) == nullptr) {
      return Status::InvalidArgument(
          model + "input '" + value.tensor.name +
          "' of the model file is missing in the configuration; the model file has " +
          JoinNames(session.inputs()));
    }
  }
  return Status::Ok();
}

}  // namespace

Status CheckSpec(const ModelSpec& spec, const OrtSession& session) {
  const std::string model = "model '" + spec.name + "': ";
  FASTSERVE_RETURN_IF_ERROR(CheckInputs(spec, session, model));
  for (const TensorSpec& output : BackendOutputs(spec)) {
    const OnnxValue* value = FindValue(session.outputs(), output.name);
    if (value == nullptr) {
      return Status::InvalidArgument(model + "unexpected output '" + output.name +
                                     "' in the configuration; the model file has " +
                                     JoinNames(session.outputs()));
    }
    FASTSERVE_RETURN_IF_ERROR(
        CheckTensor(spec, model + "output '" + output.name + "'", output, *value));
  }
  return Status::Ok();
}

}  // namespace fastserve
