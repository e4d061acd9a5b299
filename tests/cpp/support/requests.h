// Requests and sinks for tests of the scheduler and the engine.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "inference/request.h"

namespace fastserve {

// The elements of a tensor of numbers.
template <typename T>
std::vector<T> ValuesOf(const Tensor& tensor) {
  std::vector<T> values(tensor.data.size / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), tensor.data.data, tensor.data.size);
  return values;
}

// Remembers every response. Thread safe.
class RecordingSink final : public ResponseSink {
 public:
  struct Answer {
    std::string id;
    InferResponse response;
    bool final = false;
  };

  void OnResponse(const RequestPtr& request, InferResponse response, bool final) override {
    const std::lock_guard lock(mutex_);
    answers_.push_back({request->id, std::move(response), final});
    arrived_.notify_all();
  }
  // Blocks until `count` responses have arrived, and returns them.
  std::vector<Answer> Await(std::size_t count) {
    std::unique_lock lock(mutex_);
    arrived_.wait(lock, [&] { return answers_.size() >= count; });
    return answers_;
  }
  // How many there are, once they are `count`, or no healthy machine would need so long.
  std::size_t AwaitAtMostAMinute(std::size_t count) {
    std::unique_lock lock(mutex_);
    arrived_.wait_for(lock, std::chrono::seconds(60), [&] { return answers_.size() >= count; });
    return answers_.size();
  }
  std::size_t count() {
    const std::lock_guard lock(mutex_);
    return answers_.size();
  }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<Answer> answers_;
};

inline BufferView ViewOfFloats(const std::vector<float>& values) {
  BufferPtr buffer = AllocateHostBuffer(values.size() * sizeof(float));
  if (!values.empty()) std::memcpy(buffer->data(), values.data(), buffer->size());
  return {std::move(buffer)};
}

inline std::vector<float> FloatsOf(const Tensor& tensor) {
  std::vector<float> values(tensor.data.size / sizeof(float));
  if (!values.empty()) std::memcpy(values.data(), tensor.data.data, tensor.data.size);
  return values;
}

inline Shape MakeShape(std::initializer_list<std::int64_t> dims) {
  return Shape(dims.begin(), dims.end());
}

// FP32 X [-1] -> FP32 X, batching up to `max_batch_size`.
inline std::shared_ptr<ModelSpec> MakeSpec(const std::string& backend, int max_batch_size) {
  auto spec = std::make_shared<ModelSpec>();
  spec->name = "m";
  spec->backend = backend;
  spec->max_batch_size = max_batch_size;
  TensorSpec tensor;
  tensor.name = "X";
  tensor.type = DataType::kFp32;
  tensor.dims = MakeShape({-1});
  spec->inputs.push_back(tensor);
  spec->outputs.push_back(tensor);
  spec->dynamic_batching.enabled = max_batch_size > 0;
  return spec;
}

// A request for MakeSpec's model with `rows` rows of `width` elements, all equal to `value`.
inline RequestPtr MakeRequest(std::string id, std::shared_ptr<ResponseSink> sink, float value = 0,
                              int rows = 1, int width = 2) {
  auto request = std::make_shared<InferRequest>();
  request->model_name = "m";
  request->id = std::move(id);
  request->sink = std::move(sink);
  request->batch_size = rows;
  Tensor tensor;
  tensor.name = "X";
  tensor.type = DataType::kFp32;
  tensor.shape = MakeShape({rows, width});
  tensor.data = ViewOfFloats(std::vector<float>(static_cast<std::size_t>(rows * width), value));
  request->inputs.push_back(std::move(tensor));
  return request;
}

}  // namespace fastserve
