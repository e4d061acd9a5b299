#include "inference/shape.h"

#include <algorithm>

namespace fastserve {

std::optional<std::int64_t> ElementCount(std::span<const std::int64_t> shape) {
  if (std::ranges::any_of(shape, [](std::int64_t dim) { return dim < 0; })) return std::nullopt;
  // Empty whatever the other dimensions are, so that [0,2^62,4] and [2^62,4,0] are the same tensor.
  if (std::ranges::find(shape, 0) != shape.end()) return 0;
  std::int64_t count = 1;
  for (std::int64_t dim : shape) {
    if (__builtin_mul_overflow(count, dim, &count)) return std::nullopt;
  }
  return count;
}

std::optional<std::size_t> TensorByteSize(DataType type, std::span<const std::int64_t> shape) {
  const std::size_t element_size = DataTypeByteSize(type);
  const std::optional<std::int64_t> count = ElementCount(shape);
  if (element_size == 0 || !count) return std::nullopt;
  std::size_t bytes = 0;
  if (__builtin_mul_overflow(static_cast<std::size_t>(*count), element_size, &bytes))
    return std::nullopt;
  return bytes;
}

std::string ShapeToString(std::span<const std::int64_t> shape) {
  std::string text = "[";
  for (std::int64_t dim : shape) {
    if (text.size() > 1) text += ',';
    text += std::to_string(dim);
  }
  text += ']';
  return text;
}

Shape MapReshape(const Shape& from, const Shape& to, std::span<const std::int64_t> actual) {
  Shape mapped = to;
  std::size_t next = 0;
  for (std::int64_t& dim : mapped) {
    if (dim != -1) continue;
    while (next < from.size() && next < actual.size() && from[next] != -1) ++next;
    if (next < actual.size()) dim = actual[next++];
  }
  return mapped;
}

}  // namespace fastserve
