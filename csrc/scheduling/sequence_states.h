// Implicit state: the tensors that the scheduler carries from one request of a sequence to the
// next. Source: Triton user guide, "Implicit State Management".
#pragma once

#include <memory>
#include <vector>

#include "backend/backend.h"
#include "base/status.h"
#include "inference/model_spec.h"
#include "scheduling/sequence.h"

namespace fastserve {

// One row of a batch per entry; null is a row without a request (see SequenceAssembler).
using SequenceRows = std::vector<Sequence*>;
// The states of one row, one per StateSpec.
using RowStates = std::vector<Tensor>;

// Thread safe; `states` of a sequence are read and written as its owner may (see Sequence).
class SequenceStates {
 public:
  // Errors: Unavailable when memory is exhausted.
  static Result<std::unique_ptr<SequenceStates>> Create(std::shared_ptr<const ModelSpec> spec);

  // What the sequence's states are when `request` runs: with START the initial ones.
  const RowStates& Of(const Sequence& sequence, const InferRequest& request) const {
    return request.sequence_start || sequence.states.empty() ? initial_ : sequence.states;
  }
  // True when the next requests of two ready sequences can share a batch, as to their states.
  bool SameShapes(const Sequence& a, const Sequence& b) const;

  // Adds the state inputs, and asks for the state outputs. Rows that lie behind one another
  // already, as those of the batch before do, are not copied. Errors: Unavailable when memory is
  // exhausted.
  Status Append(const SequenceRows& rows, Execution* execution) const;
  // Takes the state outputs out of the execution, but for those that are outputs of the model too.
  // One entry per row; slices of the batch's buffers. Errors: Internal when the backend left one
  // out, gave it another type, or made another number of rows.
  Status Take(const SequenceRows& rows, Execution* execution, std::vector<RowStates>* taken) const;

 private:
  explicit SequenceStates(std::shared_ptr<const ModelSpec> spec) : spec_(std::move(spec)) {}
  void RequestOutputs(Execution* execution) const;
  Status TakeRows(const StateSpec& state, const Tensor& output,
                  std::vector<RowStates>* taken) const;

  const std::shared_ptr<const ModelSpec> spec_;
  RowStates initial_;
};

}  // namespace fastserve
