// What the onnxruntime backend adds to ONNX Runtime itself: Execute against a bare loop of OrtRun
// on the same model, which creates the same values and releases them, and against one that also
// reads its output's shape.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "backend/onnxruntime/onnxruntime_backend.h"
#include "backend/onnxruntime/ort_session.h"

namespace fastserve {
namespace {

constexpr std::int64_t kColumns = 16;

std::string EnvironmentOr(const char* name, const char* fallback) {
  const char* value = std::getenv(name);
  return value == nullptr ? fallback : value;
}

OnnxRuntimeOptions Options() {
  OnnxRuntimeOptions options;
  options.library_path = EnvironmentOr("FASTSERVE_TEST_ORT_LIBRARY", FASTSERVE_TEST_ORT_LIBRARY);
  return options;
}

std::string TinyModel() {
  return EnvironmentOr("FASTSERVE_TEST_MODELS", FASTSERVE_TEST_MODELS) + "/tiny.onnx";
}

[[noreturn]] void Exit(const Status& status) {
  std::fprintf(stderr, "%s\n", status.message().c_str());
  std::_Exit(1);
}

template <typename T>
T ValueOrExit(Result<T> result) {
  if (!result.ok()) Exit(result.status());
  return std::move(result).value();
}

struct Observer final : ExecutionObserver {
  void OnExecuted(Execution* /*execution*/, Status status) override {
    if (!status.ok()) Exit(status);
  }
};

Tensor MakeInput(std::int64_t rows) {
  const auto size = static_cast<std::size_t>(rows * kColumns) * sizeof(float);
  return {"INPUT0", DataType::kFp32, {rows, kColumns}, BufferView(AllocateHostBuffer(size))};
}

std::shared_ptr<const ModelSpec> TinySpec() {
  auto spec = std::make_shared<ModelSpec>();
  spec->name = "tiny";
  spec->path = TinyModel();
  spec->max_batch_size = 64;
  TensorSpec tensor;
  tensor.type = DataType::kFp32;
  tensor.dims = {kColumns};
  tensor.name = "INPUT0";
  spec->inputs = {tensor};
  tensor.name = "OUTPUT0";
  spec->outputs = {tensor};
  return spec;
}

void BM_Execute(benchmark::State& state) {
  const auto backend = ValueOrExit(CreateOnnxRuntimeBackend(Options()));
  const auto model = ValueOrExit(backend->LoadModel(TinySpec()));
  const auto instance = ValueOrExit(model->CreateInstance("tiny_0"));
  Observer observer;
  Execution execution;
  execution.batch_size = state.range(0);
  execution.inputs.push_back(MakeInput(state.range(0)));
  for (auto _ : state) {
    instance->Execute(&execution, &observer);
    benchmark::DoNotOptimize(execution.outputs[0].data.data);
    execution.outputs.clear();
  }
}
BENCHMARK(BM_Execute)->Arg(1)->Arg(64);

// OrtRun as a C program would call it.
class BareLoop {
 public:
  BareLoop()
      : runtime_(*ValueOrExit(OrtRuntime::Get(Options()))),
        session_(ValueOrExit(OrtSession::Create(runtime_, TinyModel(), SessionConfig{}, "tiny"))) {}

  const ort::Api& api() const { return runtime_.api(); }

  ort::Value* Run(const Tensor& input) {
    ort::Value* in = nullptr;
    ort::Value* out = nullptr;
    Check(api().CreateTensorWithDataAsOrtValue(runtime_.host_memory(), input.data.data,
                                               input.data.size, input.shape.data(),
                                               input.shape.size(), ort::ElementType::kFloat, &in));
    const char* input_name = "INPUT0";
    const char* output_name = "OUTPUT0";
    Check(api().Run(session_->handle(), nullptr, &input_name, &in, 1, &output_name, 1, &out));
    api().ReleaseValue(in);
    return out;
  }
  void Check(ort::Status* status) const {
    if (status != nullptr) Exit(runtime_.ToStatus(status));
  }

 private:
  const OrtRuntime& runtime_;
  std::shared_ptr<const OrtSession> session_;
};

void BM_BareRun(benchmark::State& state) {
  BareLoop loop;
  const Tensor input = MakeInput(state.range(0));
  for (auto _ : state) {
    ort::Value* output = loop.Run(input);
    void* data = nullptr;
    loop.Check(loop.api().GetTensorMutableData(output, &data));
    benchmark::DoNotOptimize(data);
    loop.api().ReleaseValue(output);
  }
}
BENCHMARK(BM_BareRun)->Arg(1)->Arg(64);

void BM_BareRunAndShape(benchmark::State& state) {
  BareLoop loop;
  const Tensor input = MakeInput(state.range(0));
  for (auto _ : state) {
    ort::Value* output = loop.Run(input);
    ort::TensorInfo* info = nullptr;
    loop.Check(loop.api().GetTensorTypeAndShape(output, &info));
    std::size_t rank = 0;
    loop.Check(loop.api().GetDimensionsCount(info, &rank));
    std::int64_t shape[2] = {};
    loop.Check(loop.api().GetDimensions(info, shape, rank));
    benchmark::DoNotOptimize(shape);
    loop.api().ReleaseTensorInfo(info);
    loop.api().ReleaseValue(output);
  }
}
BENCHMARK(BM_BareRunAndShape)->Arg(1)->Arg(64);

}  // namespace
}  // namespace fastserve
