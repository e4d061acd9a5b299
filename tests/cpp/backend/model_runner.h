// Loads models for tests of backends and runs batches on them, synchronously.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.h"

namespace fastserve {

// The onnxruntime backend on the installed library. The test program ends with a message when there
// is none: a missing library must not look like passing tests.
Backend& OnnxRuntime();
// Path of the installed libonnxruntime.
std::string OnnxRuntimeLibrary();
// Path of tests/models/data/NAME.onnx.
std::string ModelPath(std::string_view name);

// A specification completed from the model file; `max_batch_size` above 0 takes the first dimension
// as the batch.
std::shared_ptr<ModelSpec> CompleteSpec(Backend& backend, const std::string& path,
                                        int max_batch_size);

// Remembers what a backend reports.
struct RecordingObserver final : ExecutionObserver {
  void OnExecuted(Execution* /*execution*/, Status executed_status) override {
    ++calls;
    status = std::move(executed_status);
  }
  int calls = 0;
  Status status;
};

// A loaded model with one instance.
struct LoadedForTest {
  std::shared_ptr<const ModelSpec> spec;
  std::unique_ptr<BackendModel> model;
  std::unique_ptr<BackendInstance> instance;
};
// Fails the test when the model does not load.
LoadedForTest LoadForTest(Backend& backend, std::shared_ptr<const ModelSpec> spec);

// Executes once and checks that the observer was told exactly once.
Status Execute(BackendInstance& instance, Execution* execution);

Tensor MakeTensor(std::string name, DataType type, Shape shape, const void* bytes,
                  std::size_t size);
template <typename T>
Tensor MakeTensor(std::string name, DataType type, Shape shape, const std::vector<T>& values) {
  return MakeTensor(std::move(name), type, std::move(shape), values.data(),
                    values.size() * sizeof(T));
}
Tensor MakeStrings(std::string name, Shape shape, const std::vector<std::string>& elements);

template <typename T>
std::vector<T> Values(const Tensor& tensor) {
  std::vector<T> values(tensor.data.size / sizeof(T));
  std::memcpy(values.data(), tensor.data.data, values.size() * sizeof(T));
  return values;
}
std::vector<std::string> Strings(const Tensor& tensor);
std::string_view Bytes(const Tensor& tensor);

}  // namespace fastserve
