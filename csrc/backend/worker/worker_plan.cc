#include "backend/worker/worker_plan.h"

#include <unistd.h>

#include <string_view>

#include "base/log.h"
#include "protocol/json_writer.h"

namespace fastserve {

namespace {

std::string ParentOf(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? std::string() : std::string(path.substr(0, slash));
}

// Writes members of one object. Not thread safe.
class MemberWriter {
 public:
  void Text(std::string_view name, std::string_view value) {
    Name(name);
    AppendJsonString(value, &json_);
  }
  void Raw(std::string_view name, std::string_view value) {
    Name(name);
    json_.append(value);
  }
  std::string Take() { return std::move(json_.append("}")); }

 private:
  void Name(std::string_view name) {
    if (json_.size() > 1) json_.push_back(',');
    AppendJsonString(name, &json_);
    json_.push_back(':');
  }
  std::string json_ = "{";
};

std::string TextArray(const std::vector<std::string>& texts) {
  std::string json = "[";
  for (const std::string& text : texts) {
    if (json.size() > 1) json.push_back(',');
    AppendJsonString(text, &json);
  }
  return json + "]";
}

}  // namespace

int WorkerLogLevel() {
  for (const LogLevel level : {LogLevel::kVerbose, LogLevel::kInfo, LogLevel::kWarning}) {
    if (LogEnabled(level)) return static_cast<int>(level);
  }
  return static_cast<int>(LogLevel::kError);
}

std::string InitializeJson(const ModelSpec& spec, const InitializeOptions& options) {
  const std::string version_directory =
      spec.version_directory.empty() ? ParentOf(spec.path) : spec.version_directory;
  MemberWriter json;
  json.Text("model_path", options.model_path);
  json.Text("model_name", spec.name);
  json.Text("model_version", std::to_string(spec.version));
  json.Text("model_repository",
            spec.model_directory.empty() ? ParentOf(version_directory) : spec.model_directory);
  json.Text("version_directory", version_directory);
  json.Text("model_config", spec.config_json.empty() ? "{}" : spec.config_json);
  json.Text("instance_name", options.instance_name);
  json.Text("instance_kind", "CPU");
  json.Text("device_id", "0");
  json.Raw("auto_complete", options.auto_complete ? "true" : "false");
  json.Raw("python_path", TextArray(spec.worker.python_path));
  json.Raw("memory_limit_bytes", std::to_string(options.memory_limit_bytes));
  json.Raw("log_level", std::to_string(WorkerLogLevel()));
  json.Raw("server", "{\"pid\":" + std::to_string(getpid()) + "}");
  return json.Take();
}

}  // namespace fastserve
