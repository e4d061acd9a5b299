#include "protocol/raw_request.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

namespace fastserve {

namespace {

Status NotDeducible(const TensorSpec& input, const ModelSpec& spec, const std::string& why) {
  return Status::InvalidArgument("the shape of raw input '" + input.name + "' for model '" +
                                 spec.name + "' cannot be deduced: " + why);
}

// `dims` with its one variable dimension filled in.
Result<Shape> DeduceShape(const TensorSpec& input, const ModelSpec& spec, std::size_t body_bytes) {
  Shape shape = input.dims;
  const auto variable = std::ranges::find(shape, -1);
  if (variable == shape.end()) return shape;
  if (std::find(variable + 1, shape.end(), -1) != shape.end())
    return NotDeducible(input, spec, ShapeToString(shape) + " has several variable dimensions");
  *variable = 1;
  const std::optional<std::int64_t> others = ElementCount(shape);
  const std::int64_t size = static_cast<std::int64_t>(DataTypeByteSize(input.type));
  std::int64_t step = 0;
  const auto bytes = static_cast<std::int64_t>(body_bytes);
  if (!others || __builtin_mul_overflow(*others, size, &step) || step == 0 || bytes % step != 0) {
    *variable = -1;
    return NotDeducible(input, spec,
                        std::to_string(bytes) + " bytes do not fill " + ShapeToString(shape));
  }
  *variable = bytes / step;
  return shape;
}

// The whole body as the one element of a BYTES tensor.
Result<BufferView> OneElement(const BufferView& body) {
  if (body.size > std::numeric_limits<std::uint32_t>::max())
    return Status::InvalidArgument("a raw BYTES input must be below 4 GiB, got " +
                                   std::to_string(body.size) + " bytes");
  const auto length = static_cast<std::uint32_t>(body.size);
  BufferPtr buffer = AllocateHostBuffer(sizeof(length) + body.size);
  if (buffer == nullptr) return Status::Unavailable("out of memory for a raw input");
  std::memcpy(buffer->data(), &length, sizeof(length));
  std::memcpy(buffer->data() + sizeof(length), body.data, body.size);
  CountCopiedBytes(body.size);
  std::byte* const data = buffer->data();
  return BufferView(std::move(buffer), data, sizeof(length) + body.size);
}

}  // namespace

Status ParseRawRequest(const BufferView& body, const ModelSpec& spec, InferRequest* request) {
  if (spec.inputs.size() != 1) {
    return Status::InvalidArgument("raw request must only have 1 input to be deduced but model '" +
                                   spec.name + "' has " + std::to_string(spec.inputs.size()));
  }
  const TensorSpec& input = spec.inputs[0];
  Tensor tensor{input.name, input.type, {}, body};
  if (input.type == DataType::kBytes) {
    tensor.shape = input.dims;
    std::ranges::replace(tensor.shape, -1, 1);
    FASTSERVE_ASSIGN_OR_RETURN(tensor.data, OneElement(body));
  } else {
    FASTSERVE_ASSIGN_OR_RETURN(tensor.shape, DeduceShape(input, spec, body.size));
  }
  if (spec.max_batch_size > 0) tensor.shape.insert(tensor.shape.begin(), 1);
  request->inputs.push_back(std::move(tensor));
  request->binary_data_output = true;
  return Status::Ok();
}

}  // namespace fastserve
