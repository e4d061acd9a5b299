#include "base/log.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <vector>

#include "base/mutex.h"

namespace fastserve {

namespace {

// Where lines go. A file keeps one descriptor number for ever and is replaced under it (dup3), so
// that a writer never meets a closed descriptor, or one that belongs to something else by now.
class LogTarget {
 public:
  Status Open(const std::string& path) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (path.empty()) {
      // The file stays open, unused: a writer may be about to write to it.
      fd_.store(STDERR_FILENO, std::memory_order_release);
      return Status::Ok();
    }
    const int fd = open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) {
      return Status::Unavailable("cannot open log file '" + path +
                                 "': " + std::string(strerrordesc_np(errno)));
    }
    Use(fd);
    return Status::Ok();
  }

  void Write(std::string_view line) const {
    // Acquire pairs with the release in Use: the descriptor is open when its number is seen.
    const int fd = fd_.load(std::memory_order_acquire);
    while (!line.empty()) {
      const ssize_t written = write(fd, line.data(), line.size());
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) return;
      line.remove_prefix(static_cast<std::size_t>(written));
    }
  }

 private:
  void Use(int fd) REQUIRES(mutex_) {
    if (file_fd_ < 0) {
      file_fd_ = fd;
    } else {
      dup3(fd, file_fd_, O_CLOEXEC);
      close(fd);
    }
    fd_.store(file_fd_, std::memory_order_release);
  }

  Mutex mutex_;
  int file_fd_ GUARDED_BY(mutex_) = -1;
  std::atomic<int> fd_{STDERR_FILENO};
};

// Never destroyed: threads may log while the process exits.
LogTarget& Target() {
  static auto* const target = new LogTarget;
  return *target;
}

char LevelLetter(LogLevel level) {
  switch (level) {
    case LogLevel::kError:
      return 'E';
    case LogLevel::kWarning:
      return 'W';
    case LogLevel::kInfo:
    case LogLevel::kVerbose:
      break;
  }
  return 'I';
}

void AppendTime(const LogRecord& record, LogFormat format, std::string* line) {
  constexpr std::int64_t kUsPerSecond = 1'000'000;
  const std::time_t seconds = record.time_us / kUsPerSecond;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  std::array<char, 64> text{};
  const char letter = LevelLetter(record.level);
  if (format == LogFormat::kIso8601) {
    const std::size_t size = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ ", &utc);
    line->append(text.data(), size).append(1, letter);
    return;
  }
  line->append(1, letter);
  line->append(text.data(), std::strftime(text.data(), text.size(), "%m%d %H:%M:%S", &utc));
  std::snprintf(text.data(), text.size(), ".%06d", static_cast<int>(record.time_us % kUsPerSecond));
  line->append(text.data());
}

void AppendEscaped(std::string_view text, std::string* out) {
  constexpr std::string_view kHex = "0123456789abcdef";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out->append(1, '\\').append(1, c);
    } else if (c == '\n') {
      out->append("\\n");
    } else if (c == '\r') {
      out->append("\\r");
    } else if (c == '\t') {
      out->append("\\t");
    } else if (byte < 0x20 || byte == 0x7f) {
      out->append("\\u00").append(1, kHex[byte >> 4]).append(1, kHex[byte & 0xf]);
    } else {
      out->append(1, c);
    }
  }
}

std::int64_t NowUs() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec * std::int64_t{1'000'000} + now.tv_nsec / 1000;
}

struct Listeners {
  Mutex mutex;
  std::vector<std::weak_ptr<LogSettingsListener>> all GUARDED_BY(mutex);
};

Listeners& AllListeners() {
  static Listeners listeners;
  return listeners;
}

}  // namespace

LogSettings& GlobalLogSettings() {
  static LogSettings settings;
  return settings;
}

void AddLogSettingsListener(const std::shared_ptr<LogSettingsListener>& listener) {
  Listeners& listeners = AllListeners();
  const MutexLock lock(listeners.mutex);
  std::erase_if(listeners.all, [](const auto& each) { return each.expired(); });
  listeners.all.push_back(listener);
}

void TellLogSettings() {
  std::vector<std::weak_ptr<LogSettingsListener>> told;
  {
    Listeners& listeners = AllListeners();
    const MutexLock lock(listeners.mutex);
    told = listeners.all;
  }
  for (const auto& each : told) {
    if (const auto listener = each.lock()) listener->OnLogSettings();
  }
}

Status SetLogFile(const std::string& path) { return Target().Open(path); }

// The switches order nothing: a change may reach another thread a line later.
bool LogEnabled(LogLevel level, int verbosity) {
  const LogSettings& settings = GlobalLogSettings();
  switch (level) {
    case LogLevel::kError:
      return settings.error.load(std::memory_order_relaxed);
    case LogLevel::kWarning:
      return settings.warning.load(std::memory_order_relaxed);
    case LogLevel::kInfo:
      return settings.info.load(std::memory_order_relaxed);
    case LogLevel::kVerbose:
      break;
  }
  return settings.verbose_level.load(std::memory_order_relaxed) >= verbosity;
}

std::string FormatLogLine(const LogRecord& record, LogFormat format) {
  std::string line;
  line.reserve(record.message.size() + record.file.size() + 64);
  AppendTime(record, format, &line);
  line.append(1, ' ').append(std::to_string(record.pid)).append(1, ' ');
  line.append(record.file.substr(record.file.rfind('/') + 1)).append(1, ':');
  line.append(std::to_string(record.line)).append("] \"");
  AppendEscaped(record.message, &line);
  line.append("\"\n");
  return line;
}

void LogLine(LogLevel level, std::string_view file, int line, std::string_view message) {
  const LogRecord record{level, file, line, message, NowUs(), getpid()};
  Target().Write(FormatLogLine(record, GlobalLogSettings().format.load(std::memory_order_relaxed)));
}

std::string EscapeForLog(std::string_view text) {
  std::string escaped;
  escaped.reserve(text.size());
  AppendEscaped(text, &escaped);
  return escaped;
}

}  // namespace fastserve
