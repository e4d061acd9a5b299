#include "cache/owned_response.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace fastserve {

namespace {

// Reference counts and virtual table beside an object made by std::make_shared.
constexpr std::size_t kSharedBytes = 2 * sizeof(void*);
// Colour and three links of a std::map's node.
constexpr std::size_t kMapNodeBytes = 4 * sizeof(void*);

std::size_t AlignedBytes(std::size_t size) {
  return (size + kBufferAlignment - 1) / kBufferAlignment * kBufferAlignment;
}

std::size_t TextBytes(const std::string& text) {
  static const std::size_t kInPlace = std::string().capacity();
  return text.capacity() > kInPlace ? text.capacity() + 1 : 0;
}

std::size_t ShapeBytes(const Shape& shape) {
  static const std::size_t kInPlace = Shape().capacity();
  return shape.capacity() > kInPlace ? shape.capacity() * sizeof(std::int64_t) : 0;
}

bool InHostMemory(const Tensor& tensor) {
  return tensor.data.owner == nullptr || tensor.data.owner->memory_type() != MemoryType::kCuda;
}

}  // namespace

std::size_t TensorBytes(const InferResponse& response) {
  std::size_t bytes = 0;
  for (const Tensor& output : response.outputs) bytes += output.data.size;
  return bytes;
}

CachedResponse CopyResponse(const InferResponse& response) {
  if (!std::ranges::all_of(response.outputs, InHostMemory)) return nullptr;
  std::size_t size = 0;
  for (const Tensor& output : response.outputs) size += AlignedBytes(output.data.size);
  const BufferPtr buffer = AllocateHostBuffer(size);
  if (buffer == nullptr) return nullptr;
  auto copy = std::make_shared<InferResponse>();
  copy->parameters = response.parameters;
  copy->outputs.reserve(response.outputs.size());
  std::byte* place = buffer->data();
  for (const Tensor& output : response.outputs) {
    const std::size_t length = output.data.size;
    if (length != 0) std::memcpy(place, output.data.data, length);
    copy->outputs.push_back(
        Tensor{output.name, output.type, output.shape, BufferView(buffer, place, length)});
    place += AlignedBytes(length);
  }
  return copy;
}

std::size_t ResponseBytes(const InferResponse& response) {
  std::size_t bytes = sizeof(InferResponse) + kSharedBytes;
  bytes += sizeof(Buffer) + kSharedBytes;
  bytes += response.outputs.capacity() * sizeof(Tensor);
  std::size_t tensors = 0;
  for (const Tensor& output : response.outputs) {
    bytes += TextBytes(output.name) + ShapeBytes(output.shape);
    tensors += AlignedBytes(output.data.size);
  }
  bytes += std::max(tensors, kBufferAlignment);
  for (const auto& [name, value] : response.parameters) {
    bytes += kMapNodeBytes + sizeof(Parameters::value_type) + TextBytes(name);
    if (const auto* text = std::get_if<std::string>(&value)) bytes += TextBytes(*text);
  }
  return bytes;
}

}  // namespace fastserve
