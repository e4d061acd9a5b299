// What a batch needs when its requests differ in shape: tensors that tell the model where each
// request lies (config `batch_input`), and outputs cut into the shapes of an input
// (`batch_output`).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/status.h"
#include "inference/model_spec.h"

namespace fastserve {

// Adds the batch inputs of the specification to execution->inputs. They depend on the shapes of the
// requests alone, so a batch of one has them as well. Errors: InvalidArgument when a request lacks
// the source input or a number does not fit the data type; Unavailable when memory is exhausted.
Status AppendBatchInputs(const ModelSpec& spec, Execution* execution);

// The part of `output` that belongs to each request, as views, in the order of the requests.
// Errors: Internal when its elements are not those that the requests' shapes ask for.
Result<std::vector<Tensor>> ScatterOutput(const ModelSpec& spec,
                                          const BatchOutputSpec& batch_output,
                                          const Execution& execution, const Tensor& output);

// The inputs that an INT32 batch input counts, whose elements in one batch are therefore limited.
std::vector<std::string> CountedInputs(const ModelSpec& spec);

// Adds up the elements of these inputs over the requests of a batch to be. Not thread safe.
class BatchElements {
 public:
  // `inputs` outlives it.
  explicit BatchElements(std::span<const std::string> inputs)
      : inputs_(inputs), elements_(inputs.size()) {}
  // False: with this request a number does not fit into INT32 any more, nor with those after it.
  bool Add(const InferRequest& request);

 private:
  const std::span<const std::string> inputs_;
  std::vector<std::int64_t> elements_;
};

}  // namespace fastserve
