// The Engine for the control plane: models, statistics, drain. Every call that may block releases
// the GIL.
#include <pybind11/stl.h>

#include <chrono>
#include <cmath>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "backend/identity/identity.h"
#include "backend/onnxruntime/onnxruntime_backend.h"
#include "backend/repeat/repeat.h"
#include "backend/worker/worker_backend.h"
#include "bindings/bindings.h"
#include "bindings/control_queue.h"
#include "bindings/infer_bindings.h"
#include "bindings/model_spec_bindings.h"
#include "engine/engine.h"

namespace fastserve {

namespace py = pybind11;

namespace {

using EngineClass = py::class_<Engine, std::shared_ptr<Engine>>;

// Releases the GIL for the scope when this thread holds it; destructors run with and without it.
class OptionalGilRelease {
 public:
  OptionalGilRelease() {
    if (PyGILState_Check() == 1) state_ = PyEval_SaveThread();
  }
  ~OptionalGilRelease() {
    if (state_ != nullptr) PyEval_RestoreThread(state_);
  }
  OptionalGilRelease(const OptionalGilRelease&) = delete;
  OptionalGilRelease& operator=(const OptionalGilRelease&) = delete;

 private:
  PyThreadState* state_ = nullptr;
};

// A loaded version in Python's hands. Dropping it may join the threads of its instances, so it is
// done without the GIL.
class ModelHandle {
 public:
  explicit ModelHandle(LoadedModelPtr model) : model_(std::move(model)) {}
  ~ModelHandle() { Release(); }
  ModelHandle(const ModelHandle&) = delete;
  ModelHandle& operator=(const ModelHandle&) = delete;

  const LoadedModelPtr& model() const { return model_; }
  // Blocks while the model's instances end.
  void Release() {
    LoadedModelPtr model = std::move(model_);
    if (model == nullptr) return;
    OptionalGilRelease unlocked;
    AwaitOtherOwners(model);
    model.reset();
  }

 private:
  // After a drain the threads that delivered the last responses may still hold it for a moment.
  // Whose reference is the last one ends the instances: better this thread than one that serves
  // others.
  static void AwaitOtherOwners(const LoadedModelPtr& model) {
    for (int i = 0; i < 200 && model.use_count() > 1; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

  LoadedModelPtr model_;
};

std::int64_t TimeoutNs(double seconds) {
  return seconds < 0 ? -1 : static_cast<std::int64_t>(std::llround(seconds * 1e9));
}

// The keys of python/fastserve/response_cache.py; empty: no cache.
CacheOptions ReadCacheOptions(const py::dict& values) {
  CacheOptions options;
  if (values.empty()) return options;
  if (values["kind"].cast<std::string>() == "local") {
    options.kind = CacheKind::kLocal;
    options.local_bytes = values["size"].cast<std::uint64_t>();
    return options;
  }
  options.kind = CacheKind::kRedis;
  RedisOptions& redis = options.redis;
  redis.host = values["host"].cast<std::string>();
  redis.port = values["port"].cast<int>();
  redis.user = values["user"].cast<std::string>();
  redis.password = values["password"].cast<std::string>();
  redis.db = values["db"].cast<int>();
  redis.connect_timeout_ms = values["connect_timeout"].cast<std::int64_t>();
  redis.deadline_ms = values["socket_timeout"].cast<std::int64_t>();
  return options;
}

// The keys of python/fastserve/metrics_config.py; those that are absent leave the default.
void ReadMetricsOptions(const py::dict& values, EngineOptions* options) {
  if (values.contains("counter_latencies"))
    options->metrics_counter_latencies = values["counter_latencies"].cast<bool>();
  if (values.contains("histogram_latencies"))
    options->metrics_histogram_latencies = values["histogram_latencies"].cast<bool>();
  if (values.contains("summary_quantiles"))
    options->metrics_summary_quantiles = values["summary_quantiles"].cast<std::vector<double>>();
}

// None: no rate limiter.
using RateLimitResources = std::map<std::string, std::uint32_t>;

// `hold_until`: queued requests, and sequences in the backlog.
std::shared_ptr<Engine> CreateEngine(std::uint64_t max_inflight_bytes, const py::dict& metrics,
                                     std::optional<RateLimitResources> rate_limit_resources,
                                     const py::dict& cache,
                                     std::pair<std::uint32_t, std::uint32_t> hold_until) {
  EngineOptions options;
  options.cache = ReadCacheOptions(cache);
  options.max_inflight_bytes = max_inflight_bytes;
  options.delay_scheduler_requests = hold_until.first;
  options.backlog_delay_scheduler_requests = hold_until.second;
  ReadMetricsOptions(metrics, &options);
  options.rate_limit = rate_limit_resources.has_value();
  if (rate_limit_resources) options.rate_limit_resources = std::move(*rate_limit_resources);
  auto engine = ValueOrThrow(Engine::Create(options));
  // The destructor drains, and what it waits for may itself need the GIL.
  return {engine.release(), [](Engine* pointer) {
            OptionalGilRelease unlocked;
            delete pointer;
          }};
}

void RegisterOnnxRuntime(Engine* engine, const std::string& library_path, int intra_op_threads,
                         int inter_op_threads, bool allow_spinning) {
  OnnxRuntimeOptions options;
  options.library_path = library_path;
  options.global_intra_op_threads = intra_op_threads;
  options.global_inter_op_threads = inter_op_threads;
  options.allow_spinning = allow_spinning;
  Result<std::unique_ptr<Backend>> backend = [&options] {
    py::gil_scoped_release unlocked;
    return CreateOnnxRuntimeBackend(options);
  }();
  engine->RegisterBackend(ValueOrThrow(std::move(backend)));
}

// The backend "python", or one of another name that is made of a model.py.
void RegisterPython(Engine* engine, const std::string& interpreter, const std::string& script,
                    const std::string& name, const std::string& model_path) {
  WorkerBackendOptions options;
  options.name = name;
  options.model_path = model_path;
  options.interpreter = interpreter;
  options.script = script;
  options.host = engine->inference_host();
  py::gil_scoped_release unlocked;
  engine->RegisterBackend(CreateWorkerBackend(std::move(options)));
}

std::string AutoComplete(Engine* engine, const py::dict& spec_values) {
  const auto spec = ModelSpecFromDict(spec_values);
  auto config = [&] {
    py::gil_scoped_release unlocked;
    return engine->AutoComplete(*spec);
  }();
  return ValueOrThrow(std::move(config));
}

// None when the model is ready, else the reason.
std::optional<std::string> WhyNotReady(const Engine& engine, const std::string& name,
                                       std::int64_t version) {
  const Status status = [&] {
    py::gil_scoped_release unlocked;
    return engine.CheckModelReady(name, version);
  }();
  return status.ok() ? std::nullopt : std::optional(status.message());
}

// From now on the calls of models come to the queue.
std::shared_ptr<ControlQueue> OpenControlQueue(Engine* engine) {
  auto queue = std::make_shared<ControlQueue>();
  engine->SetControlHandler([queue](std::string call, std::function<void(std::string)> done) {
    queue->Put(std::move(call), std::move(done));
  });
  return queue;
}

py::dict ReadSignature(Engine* engine, const py::dict& spec_values) {
  const auto spec = ModelSpecFromDict(spec_values);
  auto signature = [&] {
    py::gil_scoped_release unlocked;
    return engine->ReadSignature(*spec);
  }();
  return SignatureToDict(ValueOrThrow(std::move(signature)));
}

std::shared_ptr<ModelHandle> LoadModel(Engine* engine, const py::dict& spec_values) {
  const auto spec = ModelSpecFromDict(spec_values);
  auto model = [&] {
    py::gil_scoped_release unlocked;
    return engine->LoadModel(spec);
  }();
  return std::make_shared<ModelHandle>(ValueOrThrow(std::move(model)));
}

std::vector<std::shared_ptr<ModelHandle>> Publish(
    Engine* engine, const std::string& name,
    const std::vector<std::shared_ptr<ModelHandle>>& handles) {
  std::vector<LoadedModelPtr> models;
  models.reserve(handles.size());
  for (const auto& handle : handles) models.push_back(handle->model());
  std::vector<LoadedModelPtr> replaced;
  {
    py::gil_scoped_release unlocked;
    replaced = engine->Publish(name, std::move(models));
  }
  std::vector<std::shared_ptr<ModelHandle>> result;
  result.reserve(replaced.size());
  for (LoadedModelPtr& model : replaced)
    result.push_back(std::make_shared<ModelHandle>(std::move(model)));
  return result;
}

const char* ModelStateName(ModelState state) {
  switch (state) {
    case ModelState::kReady:
      return "READY";
    case ModelState::kUnavailable:
      return "UNAVAILABLE";
    default:
      return "UNKNOWN";
  }
}

void BindModels(EngineClass& engine) {
  engine
      .def("register_identity_backend",
           [](Engine& self) { self.RegisterBackend(CreateIdentityBackend()); })
      .def("register_repeat_backend",
           [](Engine& self) { self.RegisterBackend(CreateRepeatBackend()); })
      .def("register_onnxruntime_backend", &RegisterOnnxRuntime, py::arg("library_path"),
           py::arg("intra_op_threads") = 0, py::arg("inter_op_threads") = 0,
           py::arg("allow_spinning") = true)
      .def("register_python_backend", &RegisterPython, py::arg("interpreter"), py::arg("script"),
           py::arg("name") = "python", py::arg("model_path") = "")
      .def("auto_complete", &AutoComplete, py::arg("spec"))
      .def("readiness_is_asked", &Engine::readiness_is_asked, py::arg("name"),
           py::arg("version") = -1)
      .def("why_not_ready", &WhyNotReady, py::arg("name"), py::arg("version") = -1)
      .def("open_control_queue", &OpenControlQueue)
      .def(
          "has_backend",
          [](const Engine& self, const std::string& name) { return self.HasBackend(name); },
          py::arg("name"))
      .def("read_signature", &ReadSignature, py::arg("spec"))
      .def("load_model", &LoadModel, py::arg("spec"))
      .def("publish", &Publish, py::arg("name"), py::arg("models"))
      .def(
          "drain",
          [](Engine& self, const ModelHandle& handle, double timeout_s) {
            return self.Drain(handle.model(), TimeoutNs(timeout_s));
          },
          py::arg("model"), py::arg("timeout_s") = -1.0, py::call_guard<py::gil_scoped_release>())
      .def(
          "set_load_duration",
          [](Engine& self, const ModelHandle& handle, double seconds) {
            self.SetLoadDuration(handle.model(), seconds);
          },
          py::arg("model"), py::arg("seconds"))
      .def(
          "model_state",
          [](const Engine& self, const std::string& name, std::int64_t version) {
            return ModelStateName(self.model_state(name, version));
          },
          py::arg("name"), py::arg("version") = -1)
      .def(
          "model_version",
          [](const Engine& self, const std::string& name, std::int64_t version) {
            return ValueOrThrow(self.FindModel(name, version))->version;
          },
          py::arg("name"), py::arg("version") = -1);
}

void BindServerState(EngineClass& engine) {
  engine.def("set_ready", &Engine::SetReady, py::arg("ready"))
      .def_property_readonly("ready", &Engine::ready)
      .def_property_readonly("live", &Engine::live)
      .def("stop_accepting", &Engine::StopAccepting, py::call_guard<py::gil_scoped_release>())
      .def(
          "wait_idle",
          [](Engine& self, double timeout_s) { return self.WaitIdle(TimeoutNs(timeout_s)); },
          py::arg("timeout_s") = -1.0, py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("inflight_requests", &Engine::inflight_requests)
      .def_property_readonly("inflight_bytes", &Engine::inflight_bytes)
      .def(
          "statistics_json",
          [](const Engine& self, const std::string& name, std::int64_t version) {
            auto json = [&] {
              py::gil_scoped_release unlocked;
              return self.StatisticsJson(name, version);
            }();
            return ValueOrThrow(std::move(json));
          },
          py::arg("name") = "", py::arg("version") = -1)
      .def("metrics_text", &Engine::MetricsText, py::call_guard<py::gil_scoped_release>());
}

}  // namespace

void BindEngine(py::module_& module) {
  py::class_<ModelHandle, std::shared_ptr<ModelHandle>>(module, "ModelHandle")
      .def("release", &ModelHandle::Release);
  py::class_<ControlQueue, std::shared_ptr<ControlQueue>>(module, "ControlQueue")
      .def_property_readonly("fd", &ControlQueue::fd)
      .def("take", &ControlQueue::Take)
      .def("answer", &ControlQueue::Answer, py::arg("id"), py::arg("json"),
           py::call_guard<py::gil_scoped_release>());
  EngineClass engine(module, "Engine");
  engine.def(py::init(&CreateEngine), py::arg("max_inflight_bytes") = 0,
             py::arg("metrics") = py::dict(), py::arg("rate_limit_resources") = py::none(),
             py::arg("cache") = py::dict(), py::arg("hold_until") = std::pair(0U, 0U));
  BindModels(engine);
  BindServerState(engine);
  BindInference(module, engine);
}

}  // namespace fastserve
