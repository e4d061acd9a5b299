// Responses that outlive their batch: copies whose tensors lie in one buffer of their own.
#pragma once

#include <cstddef>
#include <memory>

#include "inference/response.h"

namespace fastserve {

// Immutable, shared by the cache and the answers being sent. Without model name, version and id:
// these belong to each answer.
using CachedResponse = std::shared_ptr<const InferResponse>;

// Copies outputs and parameters, so that one row does not keep a whole batch alive. Null when
// memory is exhausted or an output does not lie in host memory.
CachedResponse CopyResponse(const InferResponse& response);

// The bytes of all tensors.
std::size_t TensorBytes(const InferResponse& response);

// What a response made by CopyResponse takes in memory: tensors with their alignment, names,
// shapes, parameters and the objects that hold them. Without what the allocator itself adds.
std::size_t ResponseBytes(const InferResponse& response);

}  // namespace fastserve
