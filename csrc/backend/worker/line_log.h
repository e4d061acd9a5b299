// What a model prints, line by line: to the log, with its name, and the last of it for errors.
#pragma once

#include <deque>
#include <string>
#include <string_view>

namespace fastserve {

// Of one pipe of a worker. Used by one thread. Memory is bounded: a longer line is cut into
// several.
class LineLog {
 public:
  explicit LineLog(std::string instance_name) : instance_name_(std::move(instance_name)) {}

  // Reads what has come, without blocking. False at the end of the pipe.
  bool Read(int fd);
  // Logs what was printed without a newline.
  void Finish();
  // The last lines, separated by newlines; empty when there are none.
  std::string LastLines() const;

 private:
  void Append(std::string_view bytes);
  void LogOne(std::string line);

  const std::string instance_name_;
  std::string partial_;
  std::deque<std::string> last_;
};

}  // namespace fastserve
