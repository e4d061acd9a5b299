// Checks a request against its model's specification, with the texts that Triton's clients match
// on.
#pragma once

#include "base/status.h"
#include "inference/request.h"

namespace fastserve {

// Checks names (missing, unknown, duplicate), data types, shapes, byte sizes, batch size and
// requested outputs of `request` against request->spec; sets batch_size and input_bytes; applies
// `reshape` nowhere (the scheduler does). Errors: InvalidArgument. Linear in the number of inputs
// and of BYTES elements.
Status ValidateRequest(InferRequest* request);

// Checks a parameter of the request, of the kind a client may not set. `key` is one of Triton's
// reserved names (sequence_id, sequence_start, sequence_end, priority, timeout, headers,
// binary_data_output) or starts with "triton_".
bool IsReservedParameter(std::string_view key);

}  // namespace fastserve
