#include "concurrency/deadline_timer.h"

#include <sys/prctl.h>

#include <algorithm>
#include <utility>

namespace fastserve {

namespace {

// The longest sleep: far deadlines must not overflow the system's clock.
constexpr std::int64_t kLongestSleepNs = std::int64_t{24} * 3600 * 1'000'000'000;

}  // namespace

DeadlineTimer::~DeadlineTimer() {
  WorkerThread thread;
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    thread = std::move(thread_);
  }
  changed_.NotifyAll();
  thread.Join();
}

TimerId DeadlineTimer::Schedule(std::int64_t deadline_ns, std::function<void()> callback) {
  bool is_first = false;
  TimerId id;
  {
    MutexLock lock(mutex_);
    if (stopping_) return {};
    id = {deadline_ns, ++last_sequence_};
    const auto added = scheduled_.emplace(id, std::move(callback)).first;
    is_first = added == scheduled_.begin();
    if (!thread_.started()) thread_ = WorkerThread("deadline-timer", [this] { Loop(); });
  }
  if (is_first) changed_.NotifyOne();
  return id;
}

bool DeadlineTimer::Cancel(TimerId id) {
  std::function<void()> cancelled;  // destroyed after the lock: what it owns may use the timer
  MutexLock lock(mutex_);
  const auto found = scheduled_.find(id);
  if (found != scheduled_.end()) {
    cancelled = std::move(found->second);
    scheduled_.erase(found);
    return true;
  }
  if (!id || loop_thread_ == std::this_thread::get_id()) return false;
  while (running_ == id) finished_.Wait(mutex_);
  return false;
}

void DeadlineTimer::Poke() {
  {
    MutexLock lock(mutex_);
    poked_ = true;
  }
  changed_.NotifyOne();
}

void DeadlineTimer::Loop() {
  // In nanoseconds; the default of 50 us is a quarter of a usual queue delay.
  prctl(PR_SET_TIMERSLACK, 1UL);
  MutexLock lock(mutex_);
  loop_thread_ = std::this_thread::get_id();
  while (WaitForChange()) RunDue();
}

bool DeadlineTimer::WaitForChange() {
  if (stopping_) return false;
  if (std::exchange(poked_, false)) return true;
  if (scheduled_.empty()) {
    changed_.Wait(mutex_);
    return !stopping_;
  }
  const std::int64_t left_ns = scheduled_.begin()->first.deadline_ns - clock_.NowNs();
  if (left_ns > 0) changed_.WaitFor(mutex_, std::min(left_ns, kLongestSleepNs));
  return !stopping_;
}

void DeadlineTimer::RunDue() {
  while (!stopping_ && !scheduled_.empty() &&
         scheduled_.begin()->first.deadline_ns <= clock_.NowNs()) {
    std::function<void()> callback = std::move(scheduled_.begin()->second);
    running_ = scheduled_.begin()->first;
    scheduled_.erase(scheduled_.begin());
    mutex_.Unlock();
    callback();
    callback = nullptr;  // what it owns goes before Cancel returns
    mutex_.Lock();
    running_ = TimerId();
    finished_.NotifyAll();
  }
}

}  // namespace fastserve
