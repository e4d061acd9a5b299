#include "inference/response_output.h"

#include <string_view>
#include <utility>
#include <vector>

#include "inference/classification.h"

namespace fastserve {

namespace {

const RequestedOutput* FindRequested(const InferRequest& request, std::string_view name) {
  for (const RequestedOutput& output : request.outputs) {
    if (output.name == name) return &output;
  }
  return nullptr;
}

}  // namespace

void AddOutput(const ModelSpec& spec, Tensor tensor, const InferRequest& request,
               InferResponse* response) {
  const RequestedOutput* requested = FindRequested(request, tensor.name);
  if (requested == nullptr && !request.outputs.empty()) return;
  const bool batching = spec.max_batch_size > 0;
  const TensorSpec* configured = FindTensor(spec.outputs, tensor.name);
  if (configured != nullptr)
    ApplyReshape(*configured, /*to_backend=*/false, batching, &tensor.shape);
  if (requested != nullptr && requested->classification_count != 0) {
    static const std::vector<std::string> kNoLabels;
    const auto& labels = configured != nullptr ? configured->labels : kNoLabels;
    Result<Tensor> classes = Classify(tensor, requested->classification_count, batching, labels);
    if (!classes.ok()) {
      response->status = classes.status();
      return;
    }
    tensor = std::move(*classes);
  }
  response->outputs.push_back(std::move(tensor));
}

}  // namespace fastserve
