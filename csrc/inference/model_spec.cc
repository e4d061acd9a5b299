#include "inference/model_spec.h"

#include <algorithm>

namespace fastserve {

const TensorSpec* FindTensor(const std::vector<TensorSpec>& tensors, std::string_view name) {
  const auto found = std::ranges::find(tensors, name, &TensorSpec::name);
  return found == tensors.end() ? nullptr : &*found;
}

}  // namespace fastserve
