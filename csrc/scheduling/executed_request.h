// The end of a request that its backend has executed.
#pragma once

#include "inference/request.h"
#include "scheduling/model_statistics.h"

namespace fastserve {

// Turns the response of a request that was cancelled meanwhile into an error. Decided once, before
// the statistics count, so that they and the client are told the same.
void FailIfAbandoned(const InferRequest& request, InferResponse* response);

// Completes the request with its own part of the batch's responses.
void CompleteExecuted(InferRequest* request, const BatchTimes& times, InferResponse response);

}  // namespace fastserve
