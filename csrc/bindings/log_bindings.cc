// Python's view of the one log sink: lines written by the control plane, and the settings of
// /v2/logging.
#include <pybind11/stl.h>

#include <string>

#include "base/log.h"
#include "bindings/bindings.h"

namespace fastserve {

namespace py = pybind11;

namespace {

struct LogNames {
  LogLevel level;
  const char* name;
};
constexpr LogNames kLevels[] = {{LogLevel::kError, "ERROR"},
                                {LogLevel::kWarning, "WARNING"},
                                {LogLevel::kInfo, "INFO"},
                                {LogLevel::kVerbose, "VERBOSE"}};

// Any name that is not a level is a programming error in our own Python code.
LogLevel ParseLevel(const std::string& name) {
  for (const LogNames& entry : kLevels) {
    if (name == entry.name) return entry.level;
  }
  throw py::value_error("unknown log level '" + name + "'");
}

py::dict ReadSettings() {
  const LogSettings& settings = GlobalLogSettings();
  py::dict result;
  result["log_info"] = settings.info.load();
  result["log_warning"] = settings.warning.load();
  result["log_error"] = settings.error.load();
  result["log_verbose_level"] = settings.verbose_level.load();
  result["log_format"] = settings.format.load() == LogFormat::kDefault ? "default" : "ISO8601";
  return result;
}

void WriteSettings(const py::dict& values) {
  LogSettings& settings = GlobalLogSettings();
  if (values.contains("log_info")) settings.info = values["log_info"].cast<bool>();
  if (values.contains("log_warning")) settings.warning = values["log_warning"].cast<bool>();
  if (values.contains("log_error")) settings.error = values["log_error"].cast<bool>();
  if (values.contains("log_verbose_level")) {
    settings.verbose_level = values["log_verbose_level"].cast<int>();
  }
  if (values.contains("log_format")) {
    const bool iso = values["log_format"].cast<std::string>() == "ISO8601";
    settings.format = iso ? LogFormat::kIso8601 : LogFormat::kDefault;
  }
  TellLogSettings();
}

}  // namespace

void BindLog(py::module_& module) {
  module.def(
      "log",
      [](const std::string& level, const std::string& file, int line, const std::string& message) {
        const LogLevel parsed = ParseLevel(level);
        if (!LogEnabled(parsed)) return;
        py::gil_scoped_release unlocked;
        LogLine(parsed, file, line, message);
      },
      py::arg("level"), py::arg("file"), py::arg("line"), py::arg("message"));
  module.def(
      "log_enabled",
      [](const std::string& level, int verbosity) {
        return LogEnabled(ParseLevel(level), verbosity);
      },
      py::arg("level"), py::arg("verbosity") = 1);
  module.def("log_settings", &ReadSettings);
  module.def("set_log_settings", &WriteSettings, py::arg("values"));
  module.def(
      "set_log_file",
      [](const std::string& path) {
        Status status;
        {
          py::gil_scoped_release unlocked;
          status = SetLogFile(path);
        }
        ThrowIfError(status);
      },
      py::arg("path"));
  module.def(
      "escape_for_log", [](const std::string& text) { return EscapeForLog(text); },
      py::arg("text"));
}

}  // namespace fastserve
