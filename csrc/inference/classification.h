// The classification extension: an output tensor turned into its top N "value:index[:label]"
// strings.
#pragma once

#include "base/status.h"
#include "inference/tensor.h"

namespace fastserve {

// Per batch row (`batched`: the first dimension is the batch), the `count` largest elements of
// `tensor`, as a BYTES tensor of shape [rows, min(count, row elements)] (or [min(count,
// elements)]). `labels` may be empty or short. Errors: InvalidArgument for BYTES, BOOL or other
// types without an order. Source: Triton protocol extension_classification.md.
Result<Tensor> Classify(const Tensor& tensor, std::uint32_t count, bool batched,
                        const std::vector<std::string>& labels);

}  // namespace fastserve
