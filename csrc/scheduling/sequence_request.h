// What a request must say to belong to a sequence.
#pragma once

#include "base/status.h"
#include "inference/request.h"

namespace fastserve {

// Clients choose correlation ids; the server keeps them for as long as the sequence lives.
inline constexpr std::size_t kMaxSequenceIdBytes = 128;

// True when the request carries a correlation id: neither 0 nor "".
bool HasSequenceId(const InferRequest& request);
// The correlation id as texts show it.
std::string SequenceIdText(const InferRequest& request);

// Checks batch size and correlation id against request->spec. Errors: InvalidArgument.
Status CheckSequenceRequest(const InferRequest& request);
// The error for a request whose sequence does not exist.
Status SequenceNotStarted(const InferRequest& request);

}  // namespace fastserve
