#include "backend/onnxruntime/ort_value.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <string>
#include <utility>

#include "backend/onnxruntime/element_type.h"

namespace fastserve {

namespace {

// What an empty tensor without memory points at: the library refuses null.
alignas(kBufferAlignment) std::byte no_bytes[kBufferAlignment];

constexpr std::size_t kLengthPrefixBytes = sizeof(std::uint32_t);

// The bytes of an output, in the library's memory.
class OrtValueBuffer final : public Buffer {
 public:
  OrtValueBuffer(void* data, std::size_t size, OrtHandle<ort::Value> value)
      : Buffer(static_cast<std::byte*>(data), size, MemoryType::kHost, 0),
        value_(std::move(value)) {}

 private:
  OrtHandle<ort::Value> value_;
};

Status OutOfMemory(const std::string& name, std::size_t size) {
  return Status::Unavailable("no memory for the " + std::to_string(size) + " bytes of tensor '" +
                             name + "'");
}

bool IsAligned(const std::byte* data, std::size_t element_size) {
  return reinterpret_cast<std::uintptr_t>(data) % element_size == 0;
}

Status ReadTypeAndShape(const OrtRuntime& runtime, const ort::Value* value, Tensor* tensor) {
  const ort::Api& api = runtime.api();
  ort::TensorInfo* raw = nullptr;
  FASTSERVE_RETURN_IF_ORT_ERROR(runtime, api.GetTensorTypeAndShape(value, &raw));
  const OrtHandle<ort::TensorInfo> info(raw, api.ReleaseTensorInfo);
  ort::ElementType element = ort::ElementType::kUndefined;
  FASTSERVE_RETURN_IF_ORT_ERROR(runtime, api.GetTensorElementType(raw, &element));
  tensor->type = ToDataType(element);
  std::size_t rank = 0;
  FASTSERVE_RETURN_IF_ORT_ERROR(runtime, api.GetDimensionsCount(raw, &rank));
  tensor->shape.resize(rank);
  return runtime.ToStatus(api.GetDimensions(raw, tensor->shape.data(), rank));
}

bool LiesInside(const void* data, std::span<const std::byte> bytes) {
  const auto* begin = static_cast<const std::byte*>(data);
  return !std::less<>()(begin, bytes.data()) && std::less<>()(begin, bytes.data() + bytes.size());
}

// Types of which the library reads positions and shapes. It converts narrower ones, into memory of
// its own, before it does.
bool MayBeIndex(DataType type) {
  return type == DataType::kInt32 || type == DataType::kInt64 || type == DataType::kUint32 ||
         type == DataType::kUint64;
}

bool OthersMayWrite(const BufferView& view) {
  return view.owner != nullptr && view.owner->memory_type() == MemoryType::kSharedRegion;
}

Status CopyBytes(const void* data, std::size_t size, Tensor* tensor) {
  BufferPtr copy = AllocateHostBuffer(size);
  if (copy == nullptr) return OutOfMemory(tensor->name, size);
  std::memcpy(copy->data(), data, size);
  CountCopiedBytes(size);
  tensor->data = BufferView(std::move(copy));
  return Status::Ok();
}

// Gives each of the strings, which stand without gaps at the end of `bytes`, its length prefix.
// Works in place: the strings move towards the front, each no further than where the one before it
// ended.
void InterleaveLengths(std::span<std::byte> bytes, std::span<const std::size_t> offsets) {
  const std::byte* strings = bytes.data() + offsets.size() * kLengthPrefixBytes;
  const std::size_t total = bytes.size() - offsets.size() * kLengthPrefixBytes;
  std::byte* out = bytes.data();
  for (std::size_t i = 0; i < offsets.size(); ++i) {
    const std::size_t end = i + 1 < offsets.size() ? offsets[i + 1] : total;
    const auto length = static_cast<std::uint32_t>(end - offsets[i]);
    std::memcpy(out, &length, kLengthPrefixBytes);
    std::memmove(out + kLengthPrefixBytes, strings + offsets[i], length);
    out += kLengthPrefixBytes + length;
  }
}

Status SerializeStrings(const OrtRuntime& runtime, const ort::Value* value, Tensor* tensor) {
  const ort::Api& api = runtime.api();
  const auto count = static_cast<std::size_t>(ElementCount(tensor->shape).value_or(0));
  std::size_t total = 0;
  FASTSERVE_RETURN_IF_ORT_ERROR(runtime, api.GetStringTensorDataLength(value, &total));
  const std::size_t prefixes = count * kLengthPrefixBytes;
  BufferPtr buffer = AllocateHostBuffer(prefixes + total);
  if (buffer == nullptr) return OutOfMemory(tensor->name, prefixes + total);
  if (count > 0) {
    std::vector<std::size_t> offsets(count);
    FASTSERVE_RETURN_IF_ORT_ERROR(
        runtime,
        api.GetStringTensorContent(value, buffer->data() + prefixes, total, offsets.data(), count));
    InterleaveLengths({buffer->data(), buffer->size()}, offsets);
  }
  CountCopiedBytes(buffer->size());
  tensor->data = BufferView(std::move(buffer));
  return Status::Ok();
}

}  // namespace

Status OrtInputs::Set(const std::vector<Tensor>& tensors) {
  Clear();
  for (const Tensor& tensor : tensors) FASTSERVE_RETURN_IF_ERROR(Add(tensor));
  return Status::Ok();
}

void OrtInputs::Clear() {
  for (ort::Value* value : values_) runtime_.api().ReleaseValue(value);
  values_.clear();
  names_.clear();
  bytes_.clear();
  copies_.clear();
}

bool OrtInputs::Covers(const void* data) const {
  return std::ranges::any_of(
      bytes_, [data](std::span<const std::byte> each) { return LiesInside(data, each); });
}

Status OrtInputs::Add(const Tensor& tensor) {
  if (tensor.data.owner != nullptr && tensor.data.owner->memory_type() == MemoryType::kCuda) {
    return Status::InvalidArgument("input '" + tensor.name +
                                   "' is in device memory, the model runs on the CPU");
  }
  names_.push_back(tensor.name.c_str());
  return tensor.type == DataType::kBytes ? AddStrings(tensor) : AddOverBytes(tensor);
}

Status OrtInputs::AddOverBytes(const Tensor& tensor) {
  std::byte* data = tensor.data.data == nullptr ? no_bytes : tensor.data.data;
  if (!IsAligned(data, DataTypeByteSize(tensor.type)) ||
      (MayBeIndex(tensor.type) && OthersMayWrite(tensor.data))) {
    BufferPtr copy = AllocateHostBuffer(tensor.data.size);
    if (copy == nullptr) return OutOfMemory(tensor.name, tensor.data.size);
    std::memcpy(copy->data(), data, tensor.data.size);
    CountCopiedBytes(tensor.data.size);
    data = copy->data();
    copies_.push_back(std::move(copy));
  }
  bytes_.emplace_back(data, tensor.data.size);
  ort::Value* value = nullptr;
  FASTSERVE_RETURN_IF_ORT_ERROR(
      runtime_, runtime_.api().CreateTensorWithDataAsOrtValue(
                    runtime_.host_memory(), data, tensor.data.size, tensor.shape.data(),
                    tensor.shape.size(), ToElementType(tensor.type), &value));
  values_.push_back(value);
  return Status::Ok();
}

Status OrtInputs::AddStrings(const Tensor& tensor) {
  const ort::Api& api = runtime_.api();
  std::vector<std::string_view> elements;
  FASTSERVE_RETURN_IF_ERROR(ParseBytesElements(tensor.name, {tensor.data.data, tensor.data.size},
                                               ElementCount(tensor.shape).value_or(-1), &elements));
  ort::Value* value = nullptr;
  FASTSERVE_RETURN_IF_ORT_ERROR(
      runtime_, api.CreateTensorAsOrtValue(runtime_.allocator(), tensor.shape.data(),
                                           tensor.shape.size(), ort::ElementType::kString, &value));
  values_.push_back(value);
  for (std::size_t i = 0; i < elements.size(); ++i) {
    char* destination = nullptr;
    FASTSERVE_RETURN_IF_ORT_ERROR(runtime_, api.GetResizedStringTensorElementBuffer(
                                                value, i, elements[i].size(), &destination));
    std::memcpy(destination, elements[i].data(), elements[i].size());
  }
  CountCopiedBytes(tensor.data.size);
  return Status::Ok();
}

Status TakeOutput(const OrtRuntime& runtime, OrtHandle<ort::Value> value, const OrtInputs& inputs,
                  Tensor* tensor) {
  FASTSERVE_RETURN_IF_ERROR(ReadTypeAndShape(runtime, value.get(), tensor));
  if (tensor->type == DataType::kBytes) return SerializeStrings(runtime, value.get(), tensor);
  const auto size = TensorByteSize(tensor->type, tensor->shape);
  if (!size.has_value()) {
    return Status::Internal("output '" + tensor->name +
                            "' is of a data type that cannot be served");
  }
  void* data = nullptr;
  FASTSERVE_RETURN_IF_ORT_ERROR(runtime, runtime.api().GetTensorMutableData(value.get(), &data));
  if (inputs.Covers(data)) return CopyBytes(data, *size, tensor);
  tensor->data = BufferView(std::make_shared<OrtValueBuffer>(data, *size, std::move(value)));
  return Status::Ok();
}

}  // namespace fastserve
