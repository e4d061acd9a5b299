#include "concurrency/event_count.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <thread>
#include <vector>

#include "concurrency/bounded_ring.h"

namespace fastserve {
namespace {

// Sleeps until `done` says so.
template <typename Predicate>
void WaitUntil(EventCount* event, Predicate done) {
  while (!done()) {
    const EventCount::Key key = event->PrepareWait();
    if (done()) {
      event->CancelWait();
      return;
    }
    event->Wait(key);
  }
}

TEST(EventCount, RemembersANotificationBetweenPrepareAndWait) {
  EventCount event;
  const EventCount::Key key = event.PrepareWait();
  event.NotifyOne();
  event.Wait(key);  // hangs when the notification is lost
}

TEST(EventCount, ForgetsANotificationThatNobodyWaitsFor) {
  EventCount event;
  event.NotifyOne();
  event.NotifyAll();
  std::atomic<bool> woken{false};
  std::latch prepared(1);
  std::thread waiter([&] {
    const EventCount::Key key = event.PrepareWait();
    prepared.count_down();
    event.Wait(key);
    woken = true;
  });
  prepared.wait();
  EXPECT_FALSE(woken);
  event.NotifyOne();
  waiter.join();
}

TEST(EventCount, LeavesNothingBehindAfterCancelledWaits) {
  EventCount event;
  for (int i = 0; i < 3; ++i) {
    (void)event.PrepareWait();
    event.NotifyOne();
    event.CancelWait();  // takes the wake that was meant for it
    (void)event.PrepareWait();
    event.CancelWait();
  }
  const EventCount::Key key = event.PrepareWait();
  event.NotifyAll();
  event.Wait(key);
}

TEST(EventCount, WakesEveryWaiterOfNotifyAll) {
  constexpr int kWaiters = 4;
  EventCount event;
  std::atomic<bool> open{false};
  std::latch waiting(kWaiters);
  std::vector<std::thread> threads;
  threads.reserve(kWaiters);
  for (int i = 0; i < kWaiters; ++i) {
    threads.emplace_back([&] {
      waiting.count_down();
      WaitUntil(&event, [&] { return open.load(std::memory_order_relaxed); });
    });
  }
  waiting.wait();
  open.store(true, std::memory_order_relaxed);
  event.NotifyAll();
  for (std::thread& thread : threads) thread.join();
}

// Two threads take turns: each lost wake-up would stop both for ever.
TEST(EventCount, LosesNoWakeUpBetweenTwoThreadsThatTakeTurns) {
  constexpr int kTurns = 20'000;
  EventCount even;
  EventCount odd;
  std::atomic<int> turn{0};
  const auto play = [&](int parity, EventCount* mine, EventCount* other) {
    for (int i = parity; i < kTurns; i += 2) {
      WaitUntil(mine, [&] { return turn.load(std::memory_order_relaxed) == i; });
      turn.store(i + 1, std::memory_order_relaxed);
      other->NotifyOne();
    }
  };
  std::thread first(play, 0, &even, &odd);
  std::thread second(play, 1, &odd, &even);
  first.join();
  second.join();
  EXPECT_EQ(turn, kTurns);
}

// Producers and sleeping consumers over a ring, as the scheduler uses them: nothing stays behind.
TEST(EventCount, DeliversEverythingThroughARingToSleepingConsumers) {
  constexpr int kProducers = 3;
  constexpr int kConsumers = 3;
  constexpr int kValuesEach = 10'000;
  BoundedRing<int> ring(64);
  EventCount work;
  EventCount room;
  std::atomic<int> received{0};
  std::atomic<std::int64_t> sum{0};
  std::vector<std::thread> threads;
  threads.reserve(kProducers + kConsumers);
  for (int i = 0; i < kProducers; ++i) {
    threads.emplace_back([&] {
      for (int value = 1; value <= kValuesEach; ++value) {
        WaitUntil(&room, [&] { return ring.TryPush(int{value}); });
        work.NotifyOne();
      }
    });
  }
  for (int i = 0; i < kConsumers; ++i) {
    threads.emplace_back([&] {
      int value = 0;
      while (true) {
        bool ended = false;
        WaitUntil(&work, [&] {
          if (ring.TryPop(&value)) return true;
          ended = received.load() == kProducers * kValuesEach;
          return ended;
        });
        if (ended) return;
        room.NotifyOne();
        sum.fetch_add(value);
        if (received.fetch_add(1) + 1 == kProducers * kValuesEach) work.NotifyAll();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(sum, std::int64_t{kProducers} * kValuesEach * (kValuesEach + 1) / 2);
}

}  // namespace
}  // namespace fastserve
