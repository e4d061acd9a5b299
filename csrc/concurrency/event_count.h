// Sleep until something changes, for predicates that no mutex guards (a lock-free ring is no longer
// empty).
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>

namespace fastserve {

// A waiter announces itself, looks at its predicate again, and only then sleeps; a notifier changes
// the predicate and then notifies:
//     while (!ring.TryPop(&item)) {                       ring.TryPush(std::move(item));
//       const EventCount::Key key = idle.PrepareWait();   idle.NotifyOne();
//       if (ring.TryPop(&item)) { idle.CancelWait(); break; }
//       idle.Wait(key);
//     }
// No wake-up is lost, and Wait may return without reason: look again. Only Wait blocks. A
// notification with nobody waiting is a fence and one load; each announced waiter costs at most one
// system call, however often it is notified before it runs.
//
// One word: threads announced and not yet notified (waiters), and notifications not yet consumed
// (wakes). Invariants: 1. waiters + wakes == threads between PrepareWait and the end of Wait or
// CancelWait. 2. A thread leaves Wait only by consuming a wake. Waiters are anonymous: one may
// consume the wake that another was notified with.
class EventCount {
 public:
  // Proof that PrepareWait was called.
  class Key {
    friend class EventCount;
    Key() = default;
  };

  EventCount() = default;
  EventCount(const EventCount&) = delete;
  EventCount& operator=(const EventCount&) = delete;

  // Announces a waiter; followed by exactly one CancelWait or Wait of the same thread.
  [[nodiscard]] Key PrepareWait();
  void CancelWait();
  // Blocks until notified after PrepareWait.
  void Wait(Key key);

  // Wakes at least one waiter, if there is one.
  void NotifyOne() { Notify(1); }
  void NotifyAll() { Notify(UINT32_MAX); }

 private:
  static constexpr std::uint64_t kWake = 1;
  static constexpr std::uint64_t kWaiter = std::uint64_t{1} << 32;

  static std::uint32_t Waiters(std::uint64_t state) {
    return static_cast<std::uint32_t>(state >> 32);
  }
  static std::uint32_t Wakes(std::uint64_t state) { return static_cast<std::uint32_t>(state); }

  void Notify(std::uint32_t most) {
    // Orders the caller's change of the predicate before the load of the waiters; pairs with the
    // fence in PrepareWait: either this load sees the waiter, or the waiter sees the change.
    FullFence();
    if (Waiters(state_.load(std::memory_order_relaxed)) != 0) WakeWaiters(most);
  }
  void WakeWaiters(std::uint32_t most);

  static void FullFence() {
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
// The fence is emitted; the sanitizer only does not model it.
#pragma GCC diagnostic ignored "-Wtsan"
#endif
    std::atomic_thread_fence(std::memory_order_seq_cst);
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
  }

  // The low half, wakes, is the futex.
  static_assert(std::endian::native == std::endian::little);
  std::atomic<std::uint64_t> state_{0};
};

}  // namespace fastserve
