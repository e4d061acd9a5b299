#include "backend/repeat/repeat.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <span>
#include <string>
#include <thread>
#include <utility>

#include "backend/repeat/repeat_run.h"

namespace fastserve {

namespace {

// An instance is held, and so its thread: longer is a mistake in the request.
constexpr std::uint32_t kMaxWaitMs = 60'000;

struct Port {
  const char* name;
  DataType type;
  std::int64_t dim;
};
constexpr Port kInputs[] = {
    {"IN", DataType::kInt32, -1}, {"DELAY", DataType::kUint32, -1}, {"WAIT", DataType::kUint32, 1}};
constexpr Port kOutputs[] = {{"OUT", DataType::kInt32, 1}, {"IDX", DataType::kUint32, 1}};

std::uint32_t WaitMs(const InferRequest& request) {
  std::uint32_t wait_ms = 0;
  for (const Tensor& input : request.inputs) {
    if (input.name == "WAIT" && input.data.size == sizeof(wait_ms))
      std::memcpy(&wait_ms, input.data.data, sizeof(wait_ms));
  }
  return std::min(wait_ms, kMaxWaitMs);
}

class RepeatInstance final : public BackendInstance {
 public:
  explicit RepeatInstance(std::shared_ptr<RepeatRun> run) : run_(std::move(run)) {}

  bool takes_requests() const override { return true; }
  void Execute(Execution* execution, ExecutionObserver* observer) override {
    std::uint32_t wait_ms = 0;
    for (const RequestPtr& request : execution->requests) {
      wait_ms = std::max(wait_ms, WaitMs(*request));
      run_->Start(request);
    }
    if (wait_ms > 0) std::this_thread::sleep_for(std::chrono::milliseconds(wait_ms));
    observer->OnExecuted(execution, Status::Ok());
  }

 private:
  const std::shared_ptr<RepeatRun> run_;
};

class RepeatModel final : public BackendModel {
 public:
  Result<std::unique_ptr<BackendInstance>> CreateInstance(const std::string& /*name*/) override {
    return std::unique_ptr<BackendInstance>(std::make_unique<RepeatInstance>(run_));
  }
  void Stop() override { run_->Stop(); }

 private:
  const std::shared_ptr<RepeatRun> run_ = std::make_shared<RepeatRun>();
};

Status CheckPorts(const ModelSpec& spec, const std::vector<TensorSpec>& tensors,
                  std::span<const Port> ports, const std::string& kind) {
  for (const Port& port : ports) {
    const TensorSpec* tensor = FindTensor(tensors, port.name);
    if (tensor != nullptr && tensor->type == port.type && tensor->dims == Shape{port.dim}) continue;
    return Status::InvalidArgument(
        "model '" + spec.name + "': the repeat backend needs the " + kind + " '" + port.name +
        "' (" + std::string(DataTypeName(port.type)) + " [" + std::to_string(port.dim) + "])");
  }
  if (tensors.size() == ports.size()) return Status::Ok();
  return Status::InvalidArgument("model '" + spec.name + "': the repeat backend has " +
                                 std::to_string(ports.size()) + " " + kind + "s, got " +
                                 std::to_string(tensors.size()));
}

class RepeatBackend final : public Backend {
 public:
  std::string_view name() const override { return "repeat"; }

  Result<ModelSignature> ReadSignature(const ModelSpec& spec) override {
    return Status::Unsupported(
        "model '" + spec.name +
        "': the repeat backend takes its inputs and outputs from config.pbtxt");
  }

  Result<std::unique_ptr<BackendModel>> LoadModel(std::shared_ptr<const ModelSpec> spec) override {
    if (!spec->decoupled) {
      return Status::InvalidArgument("model '" + spec->name +
                                     "': the repeat backend answers many times; write "
                                     "model_transaction_policy { decoupled: true }");
    }
    if (spec->max_batch_size != 0) {
      return Status::InvalidArgument(
          "model '" + spec->name + "': the repeat backend does not batch, got max_batch_size " +
          std::to_string(spec->max_batch_size) + "; write max_batch_size: 0");
    }
    FASTSERVE_RETURN_IF_ERROR(CheckPorts(*spec, spec->inputs, kInputs, "input"));
    FASTSERVE_RETURN_IF_ERROR(CheckPorts(*spec, spec->outputs, kOutputs, "output"));
    return std::unique_ptr<BackendModel>(std::make_unique<RepeatModel>());
  }
};

}  // namespace

std::unique_ptr<Backend> CreateRepeatBackend() { return std::make_unique<RepeatBackend>(); }

}  // namespace fastserve
