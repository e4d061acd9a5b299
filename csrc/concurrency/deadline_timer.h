// Calls back at a deadline: queue delays, queue timeouts, drains.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <thread>

#include "base/clock.h"
#include "base/mutex.h"
#include "concurrency/worker_thread.h"

namespace fastserve {

// Names a scheduled callback; a default one names none.
struct TimerId {
  std::int64_t deadline_ns = 0;
  std::uint64_t sequence = 0;

  explicit operator bool() const { return sequence != 0; }
  auto operator<=>(const TimerId&) const = default;
};

// One thread, started by the first Schedule and asleep until the next deadline. Thread safe.
// Invariants: 1. No callback runs before its deadline, by the injected clock. 2. Callbacks run one
// at a time, in order of their deadlines, with no lock of the timer held. 3. After the destructor
// none runs; those still scheduled are dropped.
class DeadlineTimer {
 public:
  // `clock` outlives the timer. One that does not follow real time calls Poke when it has moved on.
  explicit DeadlineTimer(const Clock& clock) : clock_(clock) {}
  // Blocks until a running callback has ended; not from a callback.
  virtual ~DeadlineTimer();
  DeadlineTimer(const DeadlineTimer&) = delete;
  DeadlineTimer& operator=(const DeadlineTimer&) = delete;

  // Calls `callback` once on the timer's thread when the clock has reached `deadline_ns` (at once
  // when it has). The callback is short and does not throw; it may use the timer. Does not block.
  // A default TimerId when the timer is being destroyed. Virtual: a simulation calls back itself.
  virtual TimerId Schedule(std::int64_t deadline_ns, std::function<void()> callback)
      EXCLUDES(mutex_);

  // True when the callback was still scheduled: it will not run. False otherwise: then Cancel has
  // waited for a running callback to end, unless called from that callback. So hold no mutex that
  // the callback takes.
  bool Cancel(TimerId id) EXCLUDES(mutex_);

  // Looks at the clock again.
  void Poke() EXCLUDES(mutex_);

 private:
  void Loop() EXCLUDES(mutex_);
  // Sleeps until the first deadline, or a change; false when the timer stops.
  bool WaitForChange() REQUIRES(mutex_);
  void RunDue() REQUIRES(mutex_);

  const Clock& clock_;
  Mutex mutex_;
  ConditionVariable changed_;   // an earlier deadline, a poke, the end
  ConditionVariable finished_;  // a callback has returned
  std::map<TimerId, std::function<void()>> scheduled_ GUARDED_BY(mutex_);
  TimerId running_ GUARDED_BY(mutex_);
  std::uint64_t last_sequence_ GUARDED_BY(mutex_) = 0;
  bool poked_ GUARDED_BY(mutex_) = false;
  bool stopping_ GUARDED_BY(mutex_) = false;
  WorkerThread thread_ GUARDED_BY(mutex_);
  std::thread::id loop_thread_ GUARDED_BY(mutex_);
};

}  // namespace fastserve
