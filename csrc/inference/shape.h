// Tensor shapes: small vectors of int64 with overflow-checked arithmetic. -1 is a variable
// dimension in a specification.
#pragma once

#include <boost/container/small_vector.hpp>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "inference/data_type.h"

namespace fastserve {

// A small vector that converts to a span (Boost's iterators are not contiguous_iterators, so
// std::span does not take it).
class Shape : public boost::container::small_vector<std::int64_t, 6> {
 public:
  using small_vector::small_vector;
  // NOLINTNEXTLINE(google-explicit-constructor)
  operator std::span<const std::int64_t>() const { return {data(), size()}; }
};

// Product of the dimensions; 1 for a scalar. nullopt when a dimension is negative or the product
// overflows int64.
std::optional<std::int64_t> ElementCount(std::span<const std::int64_t> shape);
// ElementCount times element size; nullopt on overflow, negative dimension or a type of variable
// size.
std::optional<std::size_t> TensorByteSize(DataType type, std::span<const std::int64_t> shape);
// "[3,-1]"; "[]" for a scalar.
std::string ShapeToString(std::span<const std::int64_t> shape);

// `actual` written in the terms of `to`: fixed dimensions from `to`, its -1s from the dimensions of
// `actual` where `from` has its -1s, in order (config `reshape`). All without the batch dimension.
Shape MapReshape(const Shape& from, const Shape& to, std::span<const std::int64_t> actual);

}  // namespace fastserve
