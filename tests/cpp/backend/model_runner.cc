#include "backend/model_runner.h"

#include <cstdlib>
#include <utility>

#include "backend/onnxruntime/onnxruntime_backend.h"

namespace fastserve {

namespace {

std::string EnvironmentOr(const char* name, const char* fallback) {
  const char* value = std::getenv(name);
  return value == nullptr ? fallback : value;
}

std::unique_ptr<Backend> CreateOrExit() {
  OnnxRuntimeOptions options;
  options.library_path = OnnxRuntimeLibrary();
  Result<std::unique_ptr<Backend>> backend = CreateOnnxRuntimeBackend(options);
  if (!backend.ok()) {
    std::fprintf(stderr,
                 "These tests need ONNX Runtime: %s\nSet FASTSERVE_TEST_ORT_LIBRARY to its path.\n",
                 backend.status().message().c_str());
    std::_Exit(1);
  }
  return std::move(backend).value();
}

TensorSpec WithoutBatch(const TensorSignature& signature, bool batches) {
  TensorSpec spec;
  spec.name = signature.name;
  spec.type = signature.type;
  spec.dims.assign(signature.shape.begin() + (batches ? 1 : 0), signature.shape.end());
  return spec;
}

}  // namespace

std::string OnnxRuntimeLibrary() {
  return EnvironmentOr("FASTSERVE_TEST_ORT_LIBRARY", FASTSERVE_TEST_ORT_LIBRARY);
}

std::string ModelPath(std::string_view name) {
  return EnvironmentOr("FASTSERVE_TEST_MODELS", FASTSERVE_TEST_MODELS) + "/" + std::string(name) +
         ".onnx";
}

Backend& OnnxRuntime() {
  static const std::unique_ptr<Backend> backend = CreateOrExit();
  return *backend;
}

std::shared_ptr<ModelSpec> CompleteSpec(Backend& backend, const std::string& path,
                                        int max_batch_size) {
  auto spec = std::make_shared<ModelSpec>();
  spec->name = "model_under_test";
  spec->backend = backend.name();
  spec->path = path;
  spec->max_batch_size = max_batch_size;
  const Result<ModelSignature> signature = backend.ReadSignature(*spec);
  EXPECT_TRUE(signature.ok()) << signature.status().message();
  if (!signature.ok()) return spec;
  for (const TensorSignature& input : signature->inputs) {
    spec->inputs.push_back(WithoutBatch(input, max_batch_size > 0));
  }
  for (const TensorSignature& output : signature->outputs) {
    spec->outputs.push_back(WithoutBatch(output, max_batch_size > 0));
  }
  return spec;
}

LoadedForTest LoadForTest(Backend& backend, std::shared_ptr<const ModelSpec> spec) {
  LoadedForTest loaded;
  loaded.spec = spec;
  Result<std::unique_ptr<BackendModel>> model = backend.LoadModel(std::move(spec));
  EXPECT_TRUE(model.ok()) << model.status().message();
  if (!model.ok()) return loaded;
  loaded.model = std::move(model).value();
  Result<std::unique_ptr<BackendInstance>> instance =
      loaded.model->CreateInstance("model_under_test_0");
  EXPECT_TRUE(instance.ok()) << instance.status().message();
  if (instance.ok()) loaded.instance = std::move(instance).value();
  return loaded;
}

Status Execute(BackendInstance& instance, Execution* execution) {
  RecordingObserver observer;
  instance.Execute(execution, &observer);
  EXPECT_EQ(observer.calls, 1);
  return observer.status;
}

Tensor MakeTensor(std::string name, DataType type, Shape shape, const void* bytes,
                  std::size_t size) {
  const BufferPtr buffer = AllocateHostBuffer(size);
  if (size > 0) std::memcpy(buffer->data(), bytes, size);
  return {std::move(name), type, std::move(shape), BufferView(buffer)};
}

Tensor MakeStrings(std::string name, Shape shape, const std::vector<std::string>& elements) {
  std::string serialized;
  for (const std::string& element : elements) AppendBytesElement(element, &serialized);
  return MakeTensor(std::move(name), DataType::kBytes, std::move(shape), serialized.data(),
                    serialized.size());
}

std::vector<std::string> Strings(const Tensor& tensor) {
  std::vector<std::string_view> elements;
  const Status parsed = ParseBytesElements(tensor.name, {tensor.data.data, tensor.data.size},
                                           ElementCount(tensor.shape).value_or(-1), &elements);
  EXPECT_TRUE(parsed.ok()) << parsed.message();
  return {elements.begin(), elements.end()};
}

std::string_view Bytes(const Tensor& tensor) {
  return {reinterpret_cast<const char*>(tensor.data.data), tensor.data.size};
}

}  // namespace fastserve
