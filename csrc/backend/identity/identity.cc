#include "backend/identity/identity.h"

#include <charconv>
#include <chrono>
#include <thread>
#include <utility>

namespace fastserve {

namespace {

struct Delay {
  std::int64_t execute_ms = 0;
  std::int64_t instance_multiplier = 0;
};

// A non-negative integer parameter; 0 when absent.
Result<std::int64_t> ReadParameter(const ModelSpec& spec, const char* key) {
  const auto found = spec.parameters.find(key);
  if (found == spec.parameters.end()) return std::int64_t{0};
  const std::string& text = found->second;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) {
    return Status::InvalidArgument("model '" + spec.name + "': parameter '" + key + "' is '" +
                                   text + "', expected a whole number of at least 0");
  }
  return value;
}

class IdentityInstance final : public BackendInstance {
 public:
  IdentityInstance(std::shared_ptr<const ModelSpec> spec, std::int64_t delay_ms)
      : spec_(std::move(spec)), delay_ms_(delay_ms) {}

  void Execute(Execution* execution, ExecutionObserver* observer) override {
    if (delay_ms_ > 0) std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms_));
    for (const Tensor& input : execution->inputs) {
      const TensorSpec* output = MatchingOutput(input.name);
      if (output == nullptr) continue;
      execution->outputs.push_back(input);
      execution->outputs.back().name = output->name;
    }
    observer->OnExecuted(execution, Status::Ok());
  }

 private:
  // The output at the same position as the input.
  const TensorSpec* MatchingOutput(const std::string& input_name) const {
    for (std::size_t i = 0; i < spec_->inputs.size() && i < spec_->outputs.size(); ++i) {
      if (spec_->inputs[i].name == input_name) return &spec_->outputs[i];
    }
    return nullptr;
  }

  const std::shared_ptr<const ModelSpec> spec_;
  const std::int64_t delay_ms_;
};

class IdentityModel final : public BackendModel {
 public:
  IdentityModel(std::shared_ptr<const ModelSpec> spec, Delay delay)
      : spec_(std::move(spec)), delay_(delay) {}

  Result<std::unique_ptr<BackendInstance>> CreateInstance(const std::string& /*name*/) override {
    // Instance n waits execute_delay_ms * (n * multiplier), as Triton's; a multiplier of 0 means no
    // scaling.
    const std::int64_t index = next_instance_++;
    std::int64_t delay_ms = delay_.execute_ms;
    if (delay_.instance_multiplier > 0 && index > 0) delay_ms *= index * delay_.instance_multiplier;
    return std::unique_ptr<BackendInstance>(std::make_unique<IdentityInstance>(spec_, delay_ms));
  }

 private:
  const std::shared_ptr<const ModelSpec> spec_;
  const Delay delay_;
  std::atomic<std::int64_t> next_instance_{0};
};

Status CheckPair(const ModelSpec& spec, const TensorSpec& input, const TensorSpec& output) {
  if (input.type != output.type || input.dims != output.dims) {
    return Status::InvalidArgument("model '" + spec.name + "': the identity backend needs input '" +
                                   input.name + "' (" + std::string(DataTypeName(input.type)) +
                                   " " + ShapeToString(input.dims) + ") and output '" +
                                   output.name + "' (" + std::string(DataTypeName(output.type)) +
                                   " " + ShapeToString(output.dims) + ") to be alike");
  }
  return Status::Ok();
}

// The echo of a ragged input is flat: it can only go back in the shapes of that input.
Status CheckRagged(const ModelSpec& spec, const TensorSpec& input, const TensorSpec& output) {
  if (!input.allow_ragged_batch) return Status::Ok();
  const BatchOutputSpec* scatter = FindBatchOutput(spec, output.name);
  if (scatter != nullptr && scatter->source_input == input.name) return Status::Ok();
  return Status::InvalidArgument(
      "model '" + spec.name + "': the identity backend echoes the ragged input '" + input.name +
      "' without its shapes; write batch_output [ { target_name: \"" + output.name +
      "\" kind: BATCH_SCATTER_WITH_INPUT_SHAPE source_input: \"" + input.name + "\" } ]");
}

class IdentityBackend final : public Backend {
 public:
  std::string_view name() const override { return "identity"; }

  Result<ModelSignature> ReadSignature(const ModelSpec& spec) override {
    return Status::Unsupported(
        "model '" + spec.name +
        "': the identity backend takes its inputs and outputs from config.pbtxt");
  }

  Result<std::unique_ptr<BackendModel>> LoadModel(std::shared_ptr<const ModelSpec> spec) override {
    if (spec->inputs.size() != spec->outputs.size()) {
      return Status::InvalidArgument(
          "model '" + spec->name + "': the identity backend needs as many outputs as inputs, got " +
          std::to_string(spec->outputs.size()) + " outputs for " +
          std::to_string(spec->inputs.size()) + " inputs");
    }
    if (!spec->sequence_batching.states.empty()) {
      return Status::InvalidArgument("model '" + spec->name +
                                     "': the identity backend keeps no state; remove state from "
                                     "sequence_batching");
    }
    if (!spec->batch_inputs.empty()) {
      return Status::InvalidArgument("model '" + spec->name +
                                     "': the identity backend reads no batch_input '" +
                                     spec->batch_inputs.front().name + "'; remove it");
    }
    for (std::size_t i = 0; i < spec->inputs.size(); ++i) {
      FASTSERVE_RETURN_IF_ERROR(CheckPair(*spec, spec->inputs[i], spec->outputs[i]));
      FASTSERVE_RETURN_IF_ERROR(CheckRagged(*spec, spec->inputs[i], spec->outputs[i]));
    }
    Delay delay;
    FASTSERVE_ASSIGN_OR_RETURN(delay.execute_ms, ReadParameter(*spec, "execute_delay_ms"));
    FASTSERVE_ASSIGN_OR_RETURN(delay.instance_multiplier,
                               ReadParameter(*spec, "instance_wise_delay_multiplier"));
    return std::unique_ptr<BackendModel>(std::make_unique<IdentityModel>(std::move(spec), delay));
  }
};

}  // namespace

std::unique_ptr<Backend> CreateIdentityBackend() { return std::make_unique<IdentityBackend>(); }

}  // namespace fastserve
