// The requests that caused a request: a step's ensemble, and the callers of requests that models
// made while they were executed (BLS).
#pragma once

#include <cstddef>
#include <string>

#include "base/status.h"
#include "inference/model_spec.h"
#include "inference/request.h"

namespace fastserve {

// The request that submitted this one; null for a client's.
const InferRequest* CauseOf(const InferRequest& request);

// True when an execution that has not ended, of whatever model, waits for this request, or may wait
// for the place that the request has in an ensemble (max_inflight_requests).
bool IsNested(const InferRequest& request);

// "a -> b -> target": the models of the requests that caused `request`, which goes to `target`.
std::string CallChainText(const InferRequest& request, const ModelSpec& target);

// The deadlock rule of docs/design/005: `request` goes to a model that can serve `capacity`
// requests at once (instances, or max_inflight_requests of an ensemble; 0: any number; one for
// models whose order or sequences make a request wait for the one before it). Errors: Unavailable,
// naming the chain ("a -> b -> a"), when that many of its own ancestors hold the model, so that it
// could only be served after itself. Linear in the length of the chain; does not block.
Status CheckCallChain(const InferRequest& request, const ModelSpec& target, std::size_t capacity);

}  // namespace fastserve
