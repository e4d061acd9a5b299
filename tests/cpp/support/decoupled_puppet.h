// A decoupled backend whose requests the test answers itself, from any thread.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "support/requests.h"

namespace fastserve {

// The requests that came, in order. Thread safe.
class DecoupledStrings {
 public:
  void Add(const RequestPtr& request) {
    const std::lock_guard lock(mutex_);
    requests_.push_back(request);
    changed_.notify_all();
  }
  // Blocks until request `index` has come.
  RequestPtr Await(std::size_t index) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return requests_.size() > index; });
    return requests_[index];
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<RequestPtr> requests_;
};

class DecoupledPuppet final : public Backend {
 public:
  explicit DecoupledPuppet(std::shared_ptr<DecoupledStrings> strings)
      : strings_(std::move(strings)) {}
  std::string_view name() const override { return "decoupled_puppet"; }
  Result<ModelSignature> ReadSignature(const ModelSpec&) override {
    return Status::Unsupported("a puppet has none");
  }
  Result<std::unique_ptr<BackendModel>> LoadModel(std::shared_ptr<const ModelSpec>) override {
    return std::unique_ptr<BackendModel>(std::make_unique<Model>(strings_));
  }

 private:
  class Instance final : public BackendInstance {
   public:
    explicit Instance(std::shared_ptr<DecoupledStrings> strings) : strings_(std::move(strings)) {}
    bool takes_requests() const override { return true; }
    void Execute(Execution* execution, ExecutionObserver* observer) override {
      const std::vector<RequestPtr> requests = execution->requests;
      observer->OnExecuted(execution, Status::Ok());
      for (const RequestPtr& request : requests) strings_->Add(request);
    }

   private:
    const std::shared_ptr<DecoupledStrings> strings_;
  };
  class Model final : public BackendModel {
   public:
    explicit Model(std::shared_ptr<DecoupledStrings> strings) : strings_(std::move(strings)) {}
    Result<std::unique_ptr<BackendInstance>> CreateInstance(const std::string&) override {
      return std::unique_ptr<BackendInstance>(std::make_unique<Instance>(strings_));
    }

   private:
    const std::shared_ptr<DecoupledStrings> strings_;
  };

  const std::shared_ptr<DecoupledStrings> strings_;
};

inline std::shared_ptr<ModelSpec> MakeDecoupledSpec(const std::string& name) {
  auto spec = MakeSpec("decoupled_puppet", 8);
  spec->name = name;
  spec->decoupled = true;
  return spec;
}

// X FP32 [width], every element `value`, as an answer to `request`.
inline InferResponse MakeAnswer(const InferRequest& request, float value, std::size_t width = 1) {
  InferResponse response;
  response.model_name = request.model_name;
  response.model_version = 1;
  response.id = request.id;
  Tensor tensor;
  tensor.name = "X";
  tensor.type = DataType::kFp32;
  tensor.shape = MakeShape({static_cast<std::int64_t>(width)});
  tensor.data = ViewOfFloats(std::vector<float>(width, value));
  response.outputs.push_back(std::move(tensor));
  return response;
}

inline InferResponse MakeEnd(const InferRequest& request) {
  InferResponse response;
  response.model_name = request.model_name;
  response.id = request.id;
  response.flags_only = true;
  return response;
}

}  // namespace fastserve
