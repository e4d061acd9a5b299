#include "backend/onnxruntime/session_config.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <map>
#include <string_view>

#include "base/log.h"

namespace fastserve {

namespace {

constexpr int kMaxThreads = 1024;
constexpr const char* kShrinkage = "memory.enable_memory_arena_shrinkage";
constexpr const char* kDeviceAllocator = "session.use_device_allocator_for_initializers";

// Reads string options of one model; names the model in its errors.
class OptionReader {
 public:
  OptionReader(const std::string& model_name, const std::map<std::string, std::string>& options,
               std::string_view kind)
      : model_name_(model_name), options_(options), kind_(kind) {}

  const std::string* Find(std::string_view name) const {
    const auto found = options_.find(std::string(name));
    return found == options_.end() ? nullptr : &found->second;
  }

  // Leaves *value alone when the option is not given.
  Status ReadInt(std::string_view name, int low, int high, int* value) const {
    const std::string* text = Find(name);
    if (text == nullptr) return Status::Ok();
    int number = 0;
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), number);
    if (error != std::errc{} || end != text->data() + text->size() || number < low ||
        number > high) {
      return Error(name, *text,
                   "an integer from " + std::to_string(low) + " to " + std::to_string(high));
    }
    *value = number;
    return Status::Ok();
  }

  Status ReadBool(std::string_view name, std::optional<bool>* value) const {
    const std::string* text = Find(name);
    if (text == nullptr) return Status::Ok();
    std::string lower = *text;
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
    const bool on = lower == "1" || lower == "true" || lower == "t" || lower == "on";
    const bool off = lower == "0" || lower == "false" || lower == "f" || lower == "off";
    if (!on && !off) return Error(name, *text, "a boolean: 1 or 0, true or false");
    *value = on;
    return Status::Ok();
  }

  Status Error(std::string_view name, const std::string& value, const std::string& expected) const {
    return Status::InvalidArgument("model '" + model_name_ + "': " + std::string(kind_) + " '" +
                                   std::string(name) + "' is '" + value + "', expected " +
                                   expected);
  }

 private:
  const std::string& model_name_;
  const std::map<std::string, std::string>& options_;
  std::string_view kind_;
};

// Triton's meaning of optimization.graph.level.
ort::GraphOptimization GraphOptimizationOf(int level) {
  switch (level) {
    case -1:
      return ort::GraphOptimization::kBasic;
    case 1:
      return ort::GraphOptimization::kExtended;
    case 2:
      return ort::GraphOptimization::kDisableAll;
    default:
      return ort::GraphOptimization::kAll;
  }
}

bool IsDeviceEntry(std::string_view entry, std::string_view* device) {
  const std::size_t colon = entry.find(':');
  if (colon == entry.npos || colon + 1 == entry.size()) return false;
  const std::string_view id = entry.substr(colon + 1);
  *device = entry.substr(0, colon);
  return std::all_of(id.begin(), id.end(),
                     [](char letter) { return letter >= '0' && letter <= '9'; });
}

// "cpu:0;gpu:0" as guides write it: what names a GPU has no arena here and would fail every run, so
// it is left out.
Status ReadShrinkage(const OptionReader& parameters, std::string* shrinkage) {
  const std::string* text = parameters.Find(kShrinkage);
  if (text == nullptr) return Status::Ok();
  std::string_view rest = *text;
  while (!rest.empty()) {
    const std::string_view entry = rest.substr(0, rest.find(';'));
    rest.remove_prefix(std::min(rest.size(), entry.size() + 1));
    std::string_view device;
    if (!IsDeviceEntry(entry, &device) || (device != "cpu" && device != "gpu")) {
      return parameters.Error(kShrinkage, *text, "a list like cpu:0 or cpu:0;gpu:0");
    }
    if (device == "gpu") {
      LOG_WARNING("parameter '" + std::string(kShrinkage) + "': " + EscapeForLog(entry) +
                  " has no effect, the model runs on the CPU");
    } else {
      shrinkage->append(shrinkage->empty() ? "" : ";").append(entry);
    }
  }
  return Status::Ok();
}

Status ReadThreads(const OptionReader& parameters, const OptionReader& backend,
                   SessionConfig* config) {
  FASTSERVE_RETURN_IF_ERROR(
      parameters.ReadInt("intra_op_thread_count", 0, kMaxThreads, &config->intra_op_threads));
  FASTSERVE_RETURN_IF_ERROR(
      parameters.ReadInt("inter_op_thread_count", 0, kMaxThreads, &config->inter_op_threads));
  std::optional<bool> enable_global;
  FASTSERVE_RETURN_IF_ERROR(backend.ReadBool("enable-global-threadpool", &enable_global));
  config->shares_thread_pools = enable_global.value_or(true) && config->intra_op_threads == 0 &&
                                config->inter_op_threads == 0;
  return Status::Ok();
}

Status ApplyMemory(const OrtRuntime& runtime, const SessionConfig& config,
                   ort::SessionOptions* options) {
  const ort::Api& api = runtime.api();
  if (config.enable_mem_arena) {
    const auto set = *config.enable_mem_arena ? api.EnableCpuMemArena : api.DisableCpuMemArena;
    FASTSERVE_RETURN_IF_ORT_ERROR(runtime, set(options));
  }
  if (config.enable_mem_pattern) {
    const auto set = *config.enable_mem_pattern ? api.EnableMemPattern : api.DisableMemPattern;
    FASTSERVE_RETURN_IF_ORT_ERROR(runtime, set(options));
  }
  if (config.use_device_allocator_for_initializers) {
    const char* value = *config.use_device_allocator_for_initializers ? "1" : "0";
    FASTSERVE_RETURN_IF_ORT_ERROR(runtime,
                                  api.AddSessionConfigEntry(options, kDeviceAllocator, value));
  }
  return Status::Ok();
}

Status ApplyThreads(const OrtRuntime& runtime, const SessionConfig& config,
                    ort::SessionOptions* options) {
  const ort::Api& api = runtime.api();
  if (config.shares_thread_pools) return runtime.ToStatus(api.DisablePerSessionThreads(options));
  const int intra_op_threads =
      config.intra_op_threads > 0 ? config.intra_op_threads : runtime.intra_op_threads();
  FASTSERVE_RETURN_IF_ORT_ERROR(runtime, api.SetIntraOpNumThreads(options, intra_op_threads));
  if (config.inter_op_threads == 0) return Status::Ok();
  return runtime.ToStatus(api.SetInterOpNumThreads(options, config.inter_op_threads));
}

}  // namespace

Result<SessionConfig> ReadSessionConfig(const ModelSpec& spec) {
  const OptionReader parameters(spec.name, spec.parameters, "parameter");
  const OptionReader backend(spec.name, spec.backend_config, "backend option");
  SessionConfig config;
  FASTSERVE_RETURN_IF_ERROR(ReadThreads(parameters, backend, &config));
  // A pool of its own runs on the cores of the host policy: more threads would only take turns.
  const HostPolicy* const policy = CommonHostPolicy(spec);
  if (policy != nullptr && !config.shares_thread_pools && config.intra_op_threads == 0)
    config.intra_op_threads = static_cast<int>(policy->cpu_cores.size());
  int parallel = 0;
  FASTSERVE_RETURN_IF_ERROR(parameters.ReadInt("execution_mode", 0, 1, &parallel));
  config.execution_mode = static_cast<ort::ExecutionMode>(parallel);
  int level = spec.graph_optimization_level;
  FASTSERVE_RETURN_IF_ERROR(parameters.ReadInt("level", -1, 2, &level));
  config.graph_optimization = GraphOptimizationOf(level);
  FASTSERVE_RETURN_IF_ERROR(parameters.ReadBool("enable_mem_arena", &config.enable_mem_arena));
  FASTSERVE_RETURN_IF_ERROR(parameters.ReadBool("enable_mem_pattern", &config.enable_mem_pattern));
  FASTSERVE_RETURN_IF_ERROR(
      parameters.ReadBool(kDeviceAllocator, &config.use_device_allocator_for_initializers));
  FASTSERVE_RETURN_IF_ERROR(ReadShrinkage(parameters, &config.memory_arena_shrinkage));
  return config;
}

Result<OrtHandle<ort::SessionOptions>> MakeSessionOptions(const OrtRuntime& runtime,
                                                          const SessionConfig& config,
                                                          const std::string& model_name) {
  const ort::Api& api = runtime.api();
  ort::SessionOptions* raw = nullptr;
  FASTSERVE_RETURN_IF_ORT_ERROR(runtime, api.CreateSessionOptions(&raw));
  OrtHandle<ort::SessionOptions> options(raw, api.ReleaseSessionOptions);
  FASTSERVE_RETURN_IF_ORT_ERROR(runtime, api.SetSessionLogId(raw, model_name.c_str()));
  FASTSERVE_RETURN_IF_ORT_ERROR(runtime, api.SetSessionExecutionMode(raw, config.execution_mode));
  FASTSERVE_RETURN_IF_ORT_ERROR(
      runtime, api.SetSessionGraphOptimizationLevel(raw, config.graph_optimization));
  FASTSERVE_RETURN_IF_ERROR(ApplyThreads(runtime, config, raw));
  FASTSERVE_RETURN_IF_ERROR(ApplyMemory(runtime, config, raw));
  return options;
}

Result<OrtHandle<ort::RunOptions>> MakeRunOptions(const OrtRuntime& runtime,
                                                  const SessionConfig& config) {
  const ort::Api& api = runtime.api();
  ort::RunOptions* raw = nullptr;
  FASTSERVE_RETURN_IF_ORT_ERROR(runtime, api.CreateRunOptions(&raw));
  OrtHandle<ort::RunOptions> options(raw, api.ReleaseRunOptions);
  if (!config.memory_arena_shrinkage.empty()) {
    FASTSERVE_RETURN_IF_ORT_ERROR(
        runtime, api.AddRunConfigEntry(raw, kShrinkage, config.memory_arena_shrinkage.c_str()));
  }
  return options;
}

}  // namespace fastserve
