// A std::mutex with Clang's thread-safety annotations, and the annotations themselves.
// Source: https://clang.llvm.org/docs/ThreadSafetyAnalysis.html
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#if defined(__clang__)
#define FASTSERVE_ANNOTATION(x) __attribute__((x))
#else
#define FASTSERVE_ANNOTATION(x)
#endif

#define CAPABILITY(x) FASTSERVE_ANNOTATION(capability(x))
#define SCOPED_CAPABILITY FASTSERVE_ANNOTATION(scoped_lockable)
#define GUARDED_BY(x) FASTSERVE_ANNOTATION(guarded_by(x))
#define PT_GUARDED_BY(x) FASTSERVE_ANNOTATION(pt_guarded_by(x))
#define REQUIRES(...) FASTSERVE_ANNOTATION(requires_capability(__VA_ARGS__))
#define EXCLUDES(...) FASTSERVE_ANNOTATION(locks_excluded(__VA_ARGS__))
#define ACQUIRE(...) FASTSERVE_ANNOTATION(acquire_capability(__VA_ARGS__))
#define TRY_ACQUIRE(...) FASTSERVE_ANNOTATION(try_acquire_capability(__VA_ARGS__))
#define RELEASE(...) FASTSERVE_ANNOTATION(release_capability(__VA_ARGS__))
#define RETURN_CAPABILITY(x) FASTSERVE_ANNOTATION(lock_returned(x))
#define NO_THREAD_SAFETY_ANALYSIS FASTSERVE_ANNOTATION(no_thread_safety_analysis)

namespace fastserve {

class CAPABILITY("mutex") Mutex {
 public:
  void Lock() ACQUIRE() { mutex_.lock(); }
  void Unlock() RELEASE() { mutex_.unlock(); }
  bool TryLock() TRY_ACQUIRE(true) { return mutex_.try_lock(); }
  // BasicLockable, for std::condition_variable_any.
  void lock() ACQUIRE() { mutex_.lock(); }
  void unlock() RELEASE() { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.Lock(); }
  ~MutexLock() RELEASE() { mutex_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

// A condition variable waited on with the Mutex that guards its predicate.
class ConditionVariable {
 public:
  // Blocks until notified (or spuriously); the caller re-checks its predicate.
  void Wait(Mutex& mutex) REQUIRES(mutex) { condition_.wait(mutex); }
  // As Wait, for at most `timeout_ns` of real time.
  void WaitFor(Mutex& mutex, std::int64_t timeout_ns) REQUIRES(mutex) {
    condition_.wait_for(mutex, std::chrono::nanoseconds(timeout_ns));
  }
  void NotifyOne() { condition_.notify_one(); }
  void NotifyAll() { condition_.notify_all(); }

 private:
  std::condition_variable_any condition_;
};

}  // namespace fastserve
