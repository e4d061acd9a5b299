#include "http/parse_thread.h"

#include <utility>

namespace fastserve {

ParseThread::~ParseThread() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.NotifyOne();
  thread_.Join();
}

void ParseThread::Post(std::function<void()> task) {
  {
    MutexLock lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  if (!thread_.started()) thread_ = WorkerThread("http-parse", [this] { Run(); });
  changed_.NotifyOne();
}

void ParseThread::Run() {
  for (;;) {
    std::function<void()> task;
    {
      MutexLock lock(mutex_);
      while (tasks_.empty() && !stopping_) changed_.Wait(mutex_);
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
  }
}

}  // namespace fastserve
