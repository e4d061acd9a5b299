// Any bytes as a cached response out of Redis.
#include <span>

#include "cache/response_wire.h"
#include "fuzz_support.h"

namespace fastserve {
namespace {

void CheckTensor(const Tensor& tensor) {
  const auto count = ElementCount(tensor.shape);
  FUZZ_CHECK(count.has_value());
  const std::span<const std::byte> data(tensor.data.data, tensor.data.size);
  if (tensor.type == DataType::kBytes) {
    FUZZ_CHECK(CheckBytesElements("", data, *count).ok());
  } else {
    FUZZ_CHECK(TensorByteSize(tensor.type, tensor.shape) == data.size());
  }
}

}  // namespace
}  // namespace fastserve

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace fastserve;
  const BufferView bytes = ExactCopy(data, size);
  const auto parsed = ParseResponse(std::span(bytes.data, bytes.size));
  if (!parsed.ok()) return 0;
  for (const Tensor& output : (*parsed)->outputs) CheckTensor(output);
  // What was accepted is what would have been written, but for the order of its parameters.
  const auto written = SerializeResponse(**parsed);
  FUZZ_CHECK(written.ok());
  FUZZ_CHECK(written->size() == size);
  FUZZ_CHECK(ParseResponse(std::as_bytes(std::span(written->data(), written->size()))).ok());
  return 0;
}
