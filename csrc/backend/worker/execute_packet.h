// A batch as the worker is sent it: bytes in one block of shared memory, and the EXECUTE packet
// that describes them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/worker/worker_link.h"
#include "inference/model_spec.h"

namespace fastserve {

// The inputs of each request of an execution, as the model is to see them. Used by one thread,
// while the execution lasts.
class BatchInputs {
 public:
  // Errors: Internal for an assembled batch whose rows cannot be told apart.
  static Result<BatchInputs> Of(const ModelSpec& spec, const Execution& execution);

  const ModelSpec& spec() const { return *spec_; }
  std::size_t request_count() const { return execution_->requests.size(); }
  const InferRequest& request(std::size_t i) const { return *execution_->requests[i]; }
  std::span<const Tensor> inputs(std::size_t i) const {
    return rows_.empty() ? std::span<const Tensor>(request(i).inputs) : rows_[i];
  }
  // False for a row that an assembled batch has without a request.
  bool is_asked(std::size_t i) const {
    return rows_.empty() || execution_->requests[i]->sink != nullptr;
  }
  // The shape behind the configured `reshape`; an assembled batch has it already.
  Shape ShapeOf(const Tensor& input) const;
  // What the inputs take in a block.
  std::size_t byte_size() const;

 private:
  BatchInputs(const ModelSpec* spec, const Execution* execution)
      : spec_(spec), execution_(execution) {}
  Status SliceRows();

  const ModelSpec* spec_;
  const Execution* execution_;
  std::vector<std::vector<Tensor>> rows_;  // of an assembled batch, else empty
};

// Copies the bytes of all inputs to a block, each at the place that WriteExecute says.
void CopyInputs(const BatchInputs& batch, const ArenaBlock& block);

// The body of EXECUTE. The requests that are asked have the handles from `first_handle` on, by
// their place in the batch. `block` may be null: no input has any bytes.
void WriteExecute(const BatchInputs& batch, std::uint64_t execution, std::uint64_t first_handle,
                  const ArenaBlock* block, PacketWriter* writer);

}  // namespace fastserve
