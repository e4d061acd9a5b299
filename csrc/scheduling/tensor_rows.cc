#include "scheduling/tensor_rows.h"

#include <cstring>
#include <string>
#include <utility>

namespace fastserve {

namespace {

Status NoMemory(const std::string& name, std::size_t size) {
  return Status::Unavailable("no memory for the " + std::to_string(size) + " bytes of tensor '" +
                             name + "'");
}

bool LieBehindOneAnother(std::span<const Tensor* const> parts) {
  for (std::size_t i = 1; i < parts.size(); ++i) {
    const BufferView& before = parts[i - 1]->data;
    const BufferView& view = parts[i]->data;
    if (view.owner != before.owner || view.data != before.data + before.size) return false;
  }
  return parts.front()->data.owner != nullptr;
}

}  // namespace

Result<Tensor> ZeroTensor(std::string name, DataType type, const Shape& shape) {
  // An empty string is a length of 0: four bytes.
  const auto size = TensorByteSize(type == DataType::kBytes ? DataType::kUint32 : type, shape);
  if (!size) {
    return Status::InvalidArgument("tensor '" + name + "' of shape " + ShapeToString(shape) +
                                   " has no size");
  }
  BufferPtr buffer = AllocateHostBuffer(*size);
  if (buffer == nullptr) return NoMemory(name, *size);
  if (*size != 0) std::memset(buffer->data(), 0, *size);
  return Tensor{std::move(name), type, shape, BufferView(std::move(buffer))};
}

Result<Tensor> JoinRows(std::span<const Tensor* const> parts) {
  Tensor joined = *parts.front();
  if (parts.size() == 1) return joined;
  std::size_t size = 0;
  joined.shape[0] = 0;
  for (const Tensor* part : parts) {
    size += part->data.size;
    joined.shape[0] += part->shape[0];
  }
  if (LieBehindOneAnother(parts)) {
    joined.data.size = size;
    return joined;
  }
  BufferPtr buffer = AllocateHostBuffer(size);
  if (buffer == nullptr) return NoMemory(joined.name, size);
  std::byte* out = buffer->data();
  for (const Tensor* part : parts) {
    if (part->data.size != 0) std::memcpy(out, part->data.data, part->data.size);
    out += part->data.size;
  }
  CountCopiedBytes(size);
  joined.data = BufferView(std::move(buffer));
  return joined;
}

Result<std::vector<std::size_t>> RowBegins(const Tensor& tensor, std::size_t rows) {
  const std::span<const std::int64_t> shape = tensor.shape;
  if (shape.empty() || shape[0] != static_cast<std::int64_t>(rows)) {
    return Status::Internal("tensor '" + tensor.name + "' has shape " + ShapeToString(shape) +
                            ", expected a first dimension of " + std::to_string(rows) +
                            ", the rows of the batch");
  }
  if (tensor.type == DataType::kBytes) {
    return BytesRowOffsets(tensor.name, {tensor.data.data, tensor.data.size}, shape[0],
                           ElementCount(shape.subspan(1)).value_or(0));
  }
  std::vector<std::size_t> begins(rows + 1);
  for (std::size_t row = 0; row <= rows; ++row) begins[row] = tensor.data.size / rows * row;
  return begins;
}

}  // namespace fastserve
