#include "concurrency/event_count.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

namespace fastserve {

namespace {

// Sleeps while the low half of `state` is 0. May return early.
void FutexWaitWhileZero(std::atomic<std::uint64_t>* state) {
  syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(state), FUTEX_WAIT_PRIVATE, 0, nullptr,
          nullptr, 0);
}

void FutexWake(std::atomic<std::uint64_t>* state, std::uint32_t count) {
  syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(state), FUTEX_WAKE_PRIVATE,
          static_cast<int>(std::min<std::uint32_t>(count, INT_MAX)), nullptr, nullptr, 0);
}

}  // namespace

EventCount::Key EventCount::PrepareWait() {
  state_.fetch_add(kWaiter, std::memory_order_relaxed);
  FullFence();  // pairs with the fence in Notify: see there
  return Key();
}

void EventCount::CancelWait() {
  std::uint64_t state = state_.load(std::memory_order_relaxed);
  std::uint64_t next = 0;
  do {
    // Not notified: take one announcement back. Otherwise (invariant 1) a wake is meant for this
    // thread.
    next = Waiters(state) != 0 ? state - kWaiter : state - kWake;
    // Relaxed: the caller has seen its predicate already and learns nothing here.
  } while (!state_.compare_exchange_weak(state, next, std::memory_order_relaxed));
}

void EventCount::Wait(Key) {
  while (true) {
    std::uint64_t state = state_.load(std::memory_order_relaxed);
    while (Wakes(state) != 0) {
      // Acquire pairs with the release in WakeWaiters: the change that was notified is visible.
      if (state_.compare_exchange_weak(state, state - kWake, std::memory_order_acquire,
                                       std::memory_order_relaxed)) {
        return;
      }
    }
    FutexWaitWhileZero(&state_);
  }
}

void EventCount::WakeWaiters(std::uint32_t most) {
  std::uint64_t state = state_.load(std::memory_order_relaxed);
  std::uint32_t woken = 0;
  do {
    woken = std::min(Waiters(state), most);
    if (woken == 0) return;
    // Release pairs with the acquire in Wait.
  } while (!state_.compare_exchange_weak(state, state - woken * kWaiter + woken * kWake,
                                         std::memory_order_release, std::memory_order_relaxed));
  FutexWake(&state_, woken);
}

}  // namespace fastserve
