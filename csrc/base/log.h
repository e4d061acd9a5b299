// The log sink that C++ and Python share. Lines look like Triton's:
//   I1122 21:30:00.123456 4711 server.cc:42] "sentence"
// One LogSettings object, changeable while running (/v2/logging, LogSettings RPC).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"

namespace fastserve {

enum class LogLevel : std::uint8_t { kError, kWarning, kInfo, kVerbose };
enum class LogFormat : std::uint8_t { kDefault, kIso8601 };

// Process-wide settings. Thread safe. The file can be set by the command line only (HARDENING 1).
struct LogSettings {
  std::atomic<bool> error{true};
  std::atomic<bool> warning{true};
  std::atomic<bool> info{true};
  std::atomic<int> verbose_level{0};
  std::atomic<LogFormat> format{LogFormat::kDefault};
};
LogSettings& GlobalLogSettings();

// Who has to pass the settings on, to a process of its own.
class LogSettingsListener {
 public:
  virtual ~LogSettingsListener() = default;
  // The settings have changed. On the thread that changed them; must not block, and must not add
  // listeners.
  virtual void OnLogSettings() = 0;
};
// Told of changes as long as it lives. Thread safe.
void AddLogSettingsListener(const std::shared_ptr<LogSettingsListener>& listener);
// For who has changed GlobalLogSettings() while the server runs: tells the listeners. Thread safe.
void TellLogSettings();

// Sends lines to `path` (appended) instead of standard error; empty means standard error. Blocks on
// open. Errors: Unavailable with the reason when the file cannot be opened; the old target stays.
Status SetLogFile(const std::string& path);

bool LogEnabled(LogLevel level, int verbosity = 1);

// What one line says.
struct LogRecord {
  LogLevel level = LogLevel::kInfo;
  std::string_view file;  // its directory is left out
  int line = 0;
  std::string_view message;
  std::int64_t time_us = 0;  // since the Unix epoch, printed as UTC
  int pid = 0;
};
// The line with its newline, as Triton writes it (verbose lines have the letter of INFO):
//   default: I1122 21:30:00.123456 4711 server.cc:42] "sentence"
//   ISO8601: 2026-11-22T21:30:00Z I 4711 server.cc:42] "sentence"
std::string FormatLogLine(const LogRecord& record, LogFormat format);

// Writes one line with one write(2); a line that the target does not take is dropped. Control
// characters of `message` are escaped. Never call while holding a mutex.
void LogLine(LogLevel level, std::string_view file, int line, std::string_view message);

// `text` with control characters, backslash and double quote escaped as in JSON, for names from
// clients.
std::string EscapeForLog(std::string_view text);

#define FASTSERVE_LOG(level, message)                                                             \
  do {                                                                                            \
    if (::fastserve::LogEnabled(level)) ::fastserve::LogLine(level, __FILE__, __LINE__, message); \
  } while (false)
#define LOG_ERROR(message) FASTSERVE_LOG(::fastserve::LogLevel::kError, message)
#define LOG_WARNING(message) FASTSERVE_LOG(::fastserve::LogLevel::kWarning, message)
#define LOG_INFO(message) FASTSERVE_LOG(::fastserve::LogLevel::kInfo, message)
#define LOG_VERBOSE(verbosity, message)                                                   \
  do {                                                                                    \
    if (::fastserve::LogEnabled(::fastserve::LogLevel::kVerbose, verbosity))              \
      ::fastserve::LogLine(::fastserve::LogLevel::kVerbose, __FILE__, __LINE__, message); \
  } while (false)

}  // namespace fastserve
