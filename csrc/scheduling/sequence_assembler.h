// A batch of sequences -> the tensors for the backend: the requests' inputs, the control tensors
// and the states.
#pragma once

#include <memory>
#include <vector>

#include "backend/backend.h"
#include "base/status.h"
#include "inference/model_spec.h"
#include "scheduling/sequence_states.h"

namespace fastserve {

// Thread safe.
class SequenceAssembler {
 public:
  // `states` outlives the assembler.
  SequenceAssembler(std::shared_ptr<const ModelSpec> spec, const SequenceStates& states)
      : spec_(std::move(spec)), states_(states) {}

  // Fills `execution` from the running requests of `rows`. A row without one gets a request of
  // zeros, which nobody answers, and controls that are all false. Errors: Unavailable when memory
  // is exhausted.
  Status Assemble(const SequenceRows& rows, Execution* execution) const;

 private:
  Status AppendControls(const SequenceRows& rows, Execution* execution) const;

  const std::shared_ptr<const ModelSpec> spec_;
  const SequenceStates& states_;
};

}  // namespace fastserve
