// What the checks of one request cost, and the walk over a tensor of many tiny strings.
#include <benchmark/benchmark.h>

#include <memory>
#include <string>

#include "inference/validation.h"

namespace fastserve {
namespace {

std::shared_ptr<ModelSpec> OneInputSpec(DataType type, Shape dims) {
  auto spec = std::make_shared<ModelSpec>();
  spec->name = "model";
  spec->max_batch_size = 64;
  spec->inputs.resize(1);
  spec->inputs[0].name = "x";
  spec->inputs[0].type = type;
  spec->inputs[0].dims = std::move(dims);
  return spec;
}

void BM_ValidateTinyRequest(benchmark::State& state) {
  InferRequest request;
  request.spec = OneInputSpec(DataType::kFp32, Shape{16});
  request.inputs.push_back(
      {"x", DataType::kFp32, Shape{1, 16}, BufferView(AllocateHostBuffer(64))});
  for (auto _ : state) {
    const Status status = ValidateRequest(&request);
    if (!status.ok()) state.SkipWithError(status.message().c_str());
  }
}
BENCHMARK(BM_ValidateTinyRequest);

void BM_ValidateMillionStrings(benchmark::State& state) {
  constexpr std::int64_t kElements = 1'000'000;
  std::string serialized;
  for (std::int64_t i = 0; i < kElements; ++i) AppendBytesElement("x", &serialized);
  InferRequest request;
  request.spec = OneInputSpec(DataType::kBytes, Shape{-1});
  BufferView data(WrapHostBuffer(serialized.data(), serialized.size(), [] {}));
  request.inputs.push_back({"x", DataType::kBytes, Shape{1, kElements}, data});
  for (auto _ : state) {
    const Status status = ValidateRequest(&request);
    if (!status.ok()) state.SkipWithError(status.message().c_str());
  }
}
BENCHMARK(BM_ValidateMillionStrings)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace fastserve
