// What both codecs check and do for every input tensor, whichever way its bytes arrive.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/status.h"
#include "inference/tensor.h"

namespace fastserve {

// The data type of a protocol name ("FP32"; configuration names are no protocol names).
// Errors: InvalidArgument naming the input.
Result<DataType> ParseInputDataType(std::string_view datatype, std::string_view input_name);

// The number of elements of an input's shape. Errors: InvalidArgument when a dimension is negative
// or the product overflows.
Result<std::int64_t> InputElementCount(const Tensor& input);

// `bytes` itself when aligned for elements of `type`, else an aligned copy (counted by
// CountCopiedBytes). Errors: Unavailable when memory is exhausted.
Result<BufferView> AlignedForType(BufferView bytes, DataType type);

// A new buffer for `size` tensor bytes. Errors: Unavailable when memory is exhausted.
Result<BufferPtr> AllocateTensor(std::size_t size);

// The error for JSON that is, or grows to, `size` bytes.
Status JsonTooLarge(std::size_t size, std::size_t limit);

// Strings of the protocol (ids, names) are UTF-8; tensor bytes may be anything.
bool IsValidUtf8(std::string_view text);
// The text with a question mark for every byte that is not part of a valid UTF-8 sequence: an error
// must be readable.
std::string ReadableText(std::string_view text);

}  // namespace fastserve
