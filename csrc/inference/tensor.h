// A named tensor. BYTES tensors hold the serialised form of the binary-tensor extension: for each
// element, row-major, a little-endian uint32 length and that many bytes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "inference/data_type.h"
#include "inference/shape.h"
#include "memory/buffer.h"

namespace fastserve {

// Invariant after validation: data.size == TensorByteSize(type, shape), or for kBytes the
// serialised elements exactly.
struct Tensor {
  std::string name;
  DataType type = DataType::kInvalid;
  Shape shape;
  BufferView data;
};

// The elements of a serialised BYTES tensor as views into `data`, in linear time.
// Errors: InvalidArgument when a length runs past the end, or when the count is not
// `expected_count` (texts as Triton: "... incomplete string data for inference input ..., expecting
// string of length ...").
Status ParseBytesElements(std::string_view tensor_name, std::span<const std::byte> data,
                          std::int64_t expected_count, std::vector<std::string_view>* elements);

// Checks that `data` holds exactly `expected_count` elements, without storing them. `place` names
// the tensor in the error:
// "'X' for model 'M'".
Status CheckBytesElements(std::string_view place, std::span<const std::byte> data,
                          std::int64_t expected_count);

// Byte offsets of the rows of a BYTES tensor: result[i] is where row i starts when `row_elements`
// elements make a row; the last entry is the end. Needs memory for rows + 1 offsets: the caller has
// limited `rows`. Error: InvalidArgument as ParseBytesElements.
Result<std::vector<std::size_t>> BytesRowOffsets(std::string_view tensor_name,
                                                 std::span<const std::byte> data, std::int64_t rows,
                                                 std::int64_t row_elements);

// Appends one element, shorter than 4 GiB, in serialised form.
void AppendBytesElement(std::string_view element, std::string* serialized);

}  // namespace fastserve
