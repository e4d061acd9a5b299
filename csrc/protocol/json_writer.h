// Pieces of JSON text appended to a string: fast, without a document or a state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"
#include "inference/response.h"

namespace fastserve {

// "text", escaped. Bytes above 0x7F are written as they are.
void AppendJsonString(std::string_view text, std::string* out);
void AppendJsonInteger(std::int64_t value, std::string* out);
void AppendJsonInteger(std::uint64_t value, std::string* out);
// The shortest text that reads back as the same double; NaN, Infinity and -Infinity as literals.
void AppendJsonDouble(double value, std::string* out);
// [1,2,3]
void AppendJsonShape(std::span<const std::int64_t> shape, std::string* out);
// {"key":value,...}
void AppendJsonParameters(const Parameters& parameters, std::string* out);

// The elements of a tensor as a flat array, row-major. FP32 is written as the shortest text that
// reads back as the same float. Errors: InvalidArgument for FP16 and BF16, Internal when the bytes
// do not fit the shape.
Status AppendJsonTensor(const Tensor& tensor, std::string* out);

}  // namespace fastserve
