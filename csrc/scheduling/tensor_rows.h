// Rows of tensors: joined into one, or filled with nothing.
#pragma once

#include <span>

#include "base/status.h"
#include "inference/tensor.h"

namespace fastserve {

// Zeros, or empty strings, of that shape. The shape has no variable dimension. Errors: Unavailable
// when memory is exhausted.
Result<Tensor> ZeroTensor(std::string name, DataType type, const Shape& shape);

// One tensor of the rows of `parts`, which agree but for their first dimension and are not empty.
// Copies nothing when there is one part or when the parts lie behind one another in one buffer.
// Errors: Unavailable when memory is exhausted.
Result<Tensor> JoinRows(std::span<const Tensor* const> parts);

// The bytes at which each of the `rows` rows of a tensor begins, and the end. The first dimension
// is `rows`. Errors: Internal for one that is not; InvalidArgument for malformed BYTES.
Result<std::vector<std::size_t>> RowBegins(const Tensor& tensor, std::size_t rows);

}  // namespace fastserve
