#include "backend/onnxruntime/ort_runtime.h"

#include <dlfcn.h>

#include <charconv>
#include <string>

#include "backend/onnxruntime/cpu_count.h"
#include "base/log.h"
#include "base/mutex.h"

namespace fastserve {

namespace {

struct Process {
  Mutex mutex;
  const OrtRuntime* runtime GUARDED_BY(mutex) = nullptr;
};

// Never destroyed, as what it points to.
Process& TheProcess() {
  static auto* process = new Process;
  return *process;
}

// ONNX Runtime logs an error and returns it too; fastserve reports what is returned, so the log
// line is for debugging only.
LogLevel LevelOf(ort::LogSeverity severity) {
  switch (severity) {
    case ort::LogSeverity::kWarning:
      return LogLevel::kWarning;
    case ort::LogSeverity::kFatal:
      return LogLevel::kError;
    default:
      return LogLevel::kVerbose;
  }
}

// `location` is "path/file.cc:123 function".
void WriteLog(void* /*context*/, ort::LogSeverity severity, const char* /*category*/,
              const char* /*log_id*/, const char* location, const char* message) {
  const LogLevel level = LevelOf(severity);
  if (!LogEnabled(level)) return;
  std::string_view place = location == nullptr ? "onnxruntime" : location;
  place = place.substr(0, place.find(' '));
  int line = 0;
  if (const std::size_t colon = place.rfind(':'); colon != place.npos) {
    std::from_chars(place.data() + colon + 1, place.data() + place.size(), line);
    place = place.substr(0, colon);
  }
  LogLine(level, place, line, std::string("onnxruntime: ") + message);
}

std::string LastLoaderError() {
  const char* error = dlerror();
  return error == nullptr ? "unknown error" : error;
}

Result<const ort::ApiBase*> OpenLibrary(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) {
    return Status::Unavailable("cannot load ONNX Runtime: " + LastLoaderError());
  }
  using GetApiBase = const ort::ApiBase* (*)();
  const auto get_api_base = reinterpret_cast<GetApiBase>(dlsym(library, "OrtGetApiBase"));
  if (get_api_base == nullptr) {
    dlclose(library);
    return Status::Unavailable("'" + path +
                               "' is not ONNX Runtime: it has no function OrtGetApiBase");
  }
  return get_api_base();
}

Status TooOld(const std::string& path, const std::string& version) {
  return Status::Unavailable(
      "ONNX Runtime " + version + " ('" + path + "') is too old: fastserve needs 1." +
      std::to_string(ort::kApiVersion) + " or newer; pip install --upgrade onnxruntime");
}

}  // namespace

int ApiVersionOfRelease(std::string_view release) {
  if (!release.starts_with("1.")) return 0;
  release.remove_prefix(2);
  int minor = 0;
  const auto [end, error] = std::from_chars(release.data(), release.data() + release.size(), minor);
  const bool ends_number = end == release.data() + release.size() || *end == '.';
  return error == std::errc{} && ends_number ? minor : 0;
}

Status OrtRuntime::ToStatus(ort::Status* status) const {
  if (status == nullptr) return Status::Ok();
  std::string message = "onnx runtime error " + std::to_string(api_.GetErrorCode(status)) + ": " +
                        api_.GetErrorMessage(status);
  api_.ReleaseStatus(status);
  return Status::Internal(std::move(message));
}

Status OrtRuntime::CreateEnv(const OnnxRuntimeOptions& options) {
  intra_op_threads_ =
      options.global_intra_op_threads > 0 ? options.global_intra_op_threads : UsableCpuCount();
  const int inter_op_threads =
      options.global_inter_op_threads > 0 ? options.global_inter_op_threads : 1;
  ort::ThreadingOptions* raw = nullptr;
  FASTSERVE_RETURN_IF_ORT_ERROR(*this, api_.CreateThreadingOptions(&raw));
  const OrtHandle<ort::ThreadingOptions> threading(raw, api_.ReleaseThreadingOptions);
  FASTSERVE_RETURN_IF_ORT_ERROR(*this, api_.SetGlobalIntraOpNumThreads(raw, intra_op_threads_));
  FASTSERVE_RETURN_IF_ORT_ERROR(*this, api_.SetGlobalInterOpNumThreads(raw, inter_op_threads));
  FASTSERVE_RETURN_IF_ORT_ERROR(*this,
                                api_.SetGlobalSpinControl(raw, options.allow_spinning ? 1 : 0));
  FASTSERVE_RETURN_IF_ORT_ERROR(
      *this, api_.CreateEnvWithCustomLoggerAndGlobalThreadPools(
                 WriteLog, nullptr, ort::LogSeverity::kWarning, "fastserve", raw, &env_));
  FASTSERVE_RETURN_IF_ORT_ERROR(
      *this, api_.CreateCpuMemoryInfo(ort::AllocatorKind::kDevice, ort::MemoryKind::kDefault,
                                      &host_memory_));
  return ToStatus(api_.GetAllocatorWithDefaultOptions(&allocator_));
}

Result<const OrtRuntime*> OrtRuntime::Load(const OnnxRuntimeOptions& options) {
  FASTSERVE_ASSIGN_OR_RETURN(const ort::ApiBase* base, OpenLibrary(options.library_path));
  auto runtime = std::unique_ptr<OrtRuntime>(new OrtRuntime);
  runtime->library_path_ = options.library_path;
  runtime->version_ = base->GetVersionString();
  // Asked for by number first: an older library would also print a line of its own to standard
  // error.
  if (ApiVersionOfRelease(runtime->version_) < static_cast<int>(ort::kApiVersion)) {
    return TooOld(options.library_path, runtime->version_);
  }
  const void* const* table = base->GetApi(ort::kApiVersion);
  if (table == nullptr) return TooOld(options.library_path, runtime->version_);
  runtime->api_ = ort::Bind(table);
  FASTSERVE_RETURN_IF_ERROR(runtime->CreateEnv(options));
  return static_cast<const OrtRuntime*>(runtime.release());
}

Result<const OrtRuntime*> OrtRuntime::Get(const OnnxRuntimeOptions& options) {
  Process& process = TheProcess();
  const MutexLock lock(process.mutex);
  if (process.runtime == nullptr) {
    FASTSERVE_ASSIGN_OR_RETURN(process.runtime, Load(options));
  } else if (process.runtime->library_path_ != options.library_path) {
    return Status::Unavailable("cannot load ONNX Runtime from '" + options.library_path +
                               "': this process already uses '" + process.runtime->library_path_ +
                               "'");
  }
  return process.runtime;
}

}  // namespace fastserve
