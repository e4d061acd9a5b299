#include "backend/worker/line_log.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "base/log.h"

namespace fastserve {

namespace {

constexpr std::size_t kLongestLine = 8192;
constexpr std::size_t kLastLines = 20;
constexpr int kMostReads = 16;  // at once: a model that prints for ever holds nothing else up

}  // namespace

bool LineLog::Read(int fd) {
  std::array<char, 4096> buffer;
  for (int i = 0; i < kMostReads; ++i) {
    const ssize_t size = read(fd, buffer.data(), buffer.size());
    if (size == 0) return false;
    if (size < 0) return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
    Append({buffer.data(), static_cast<std::size_t>(size)});
  }
  return true;
}

void LineLog::Append(std::string_view bytes) {
  for (const char byte : bytes) {
    if (byte == '\n' || partial_.size() == kLongestLine) LogOne(std::exchange(partial_, {}));
    if (byte != '\n') partial_.push_back(byte);
  }
}

void LineLog::LogOne(std::string line) {
  if (!line.empty() && line.back() == '\r') line.pop_back();
  LOG_INFO(instance_name_ + ": " + line);
  last_.push_back(std::move(line));
  if (last_.size() > kLastLines) last_.pop_front();
}

void LineLog::Finish() {
  if (!partial_.empty()) LogOne(std::exchange(partial_, {}));
}

std::string LineLog::LastLines() const {
  std::string text;
  for (const std::string& line : last_) text.append(text.empty() ? "" : "\n").append(line);
  return text;
}

}  // namespace fastserve
