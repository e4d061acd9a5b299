// Requests -> one batch of tensors for the backend, and the batch's outputs -> responses. What is
// ragged is in ragged_batch.h.
// Copies: a batch of one request passes its tensors on as they are; a larger batch copies each row
// once (gather). Outputs are never copied: a response's tensors are views into the batch's output
// buffers.
#pragma once

#include <vector>

#include "backend/backend.h"
#include "base/status.h"
#include "inference/model_spec.h"

namespace fastserve {

// Fills execution->batch_size.
void CountRows(Execution* execution);

// Fills execution->inputs, requested_outputs and batch_size from execution->requests (validated,
// same shapes but for ragged inputs). Errors: Unavailable when memory is exhausted; those of
// AppendBatchInputs.
Status AssembleBatch(const ModelSpec& spec, Execution* execution);

// One response per request of the batch, in order. Errors (Internal: the backend broke its
// contract) fail the whole batch; an error of one request alone (classification of a type without
// an order) is in its response's status.
Status SplitBatch(const ModelSpec& spec, Execution* execution,
                  std::vector<InferResponse>* responses);

}  // namespace fastserve
