// The way from core threads to an asyncio loop, for the in-process API.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "bindings/bindings.h"
#include "inference/request.h"

namespace fastserve {

// Responses on their way to an event loop. Core threads push; the loop, woken by the eventfd, takes
// all. Thread safe.
class InferCompletions {
 public:
  struct Completion {
    std::uint64_t token;
    InferResponse response;
    bool final;
  };

  InferCompletions() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
    if (fd_ < 0)
      ThrowIfError(Status::Unavailable("no file descriptor is left for the completion queue"));
  }
  ~InferCompletions() { close(fd_); }
  InferCompletions(const InferCompletions&) = delete;
  InferCompletions& operator=(const InferCompletions&) = delete;

  int fd() const { return fd_; }

  // Never blocks: the eventfd's counter cannot overflow, because only an empty queue writes to it.
  void Push(Completion completion) EXCLUDES(mutex_) {
    bool first = false;
    {
      MutexLock lock(mutex_);
      first = completions_.empty();
      completions_.push_back(std::move(completion));
    }
    const std::uint64_t one = 1;
    if (first) [[maybe_unused]]
      const auto written = write(fd_, &one, sizeof(one));
  }

  std::vector<Completion> Take() EXCLUDES(mutex_) {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto got = read(fd_, &count, sizeof(count));
    MutexLock lock(mutex_);
    return std::exchange(completions_, {});
  }

 private:
  const int fd_;
  Mutex mutex_;
  std::vector<Completion> completions_ GUARDED_BY(mutex_);
};

}  // namespace fastserve
