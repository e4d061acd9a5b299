#include "concurrency/deadline_timer.h"

#include <gtest/gtest.h>

#include <future>
#include <latch>
#include <memory>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "support/fake_clock.h"

namespace fastserve {
namespace {

class DeadlineTimerTest : public testing::Test {
 protected:
  DeadlineTimerTest() {
    clock_.AddListener([this] { timer_->Poke(); });
  }
  std::int64_t After(std::int64_t ns) const { return clock_.NowNs() + ns; }

  FakeClock clock_;
  std::unique_ptr<DeadlineTimer> timer_ = std::make_unique<DeadlineTimer>(clock_);
};

TEST_F(DeadlineTimerTest, CallsBackWhenTheClockReachesTheDeadline) {
  std::promise<std::int64_t> called_at;
  timer_->Schedule(After(5 * kNsPerMs), [&] { called_at.set_value(clock_.NowNs()); });
  const std::int64_t deadline = After(5 * kNsPerMs);
  clock_.Advance(4 * kNsPerMs);
  clock_.Advance(1 * kNsPerMs);
  EXPECT_EQ(called_at.get_future().get(), deadline);
}

TEST_F(DeadlineTimerTest, CallsBackAtOnceWhenTheDeadlineHasPassed) {
  std::promise<void> called;
  timer_->Schedule(After(-kNsPerMs), [&] { called.set_value(); });
  called.get_future().wait();
}

TEST_F(DeadlineTimerTest, CallsBackInTheOrderOfTheDeadlines) {
  std::vector<int> order;  // written by the timer's thread only
  std::promise<void> all_called;
  timer_->Schedule(After(3 * kNsPerMs), [&] {
    order.push_back(3);
    all_called.set_value();
  });
  timer_->Schedule(After(1 * kNsPerMs), [&] { order.push_back(1); });
  timer_->Schedule(After(2 * kNsPerMs), [&] { order.push_back(2); });
  timer_->Schedule(After(2 * kNsPerMs), [&] { order.push_back(22); });
  clock_.Advance(3 * kNsPerMs);
  all_called.get_future().wait();
  EXPECT_EQ(order, (std::vector<int>{1, 2, 22, 3}));
}

TEST_F(DeadlineTimerTest, NeverCallsACancelledCallback) {
  bool called = false;
  const TimerId id = timer_->Schedule(After(kNsPerMs), [&] { called = true; });
  EXPECT_TRUE(timer_->Cancel(id));
  EXPECT_FALSE(timer_->Cancel(id));
  std::promise<void> later;
  timer_->Schedule(After(2 * kNsPerMs), [&] { later.set_value(); });
  clock_.Advance(2 * kNsPerMs);
  later.get_future().wait();
  EXPECT_FALSE(called);
}

TEST_F(DeadlineTimerTest, CancelWaitsForARunningCallback) {
  std::latch started(1);
  std::latch go_on(1);
  std::atomic<bool> ended{false};
  const TimerId id = timer_->Schedule(After(0), [&] {
    started.count_down();
    go_on.wait();
    ended = true;
  });
  started.wait();
  std::thread canceller([&] {
    EXPECT_FALSE(timer_->Cancel(id));
    EXPECT_TRUE(ended);
  });
  go_on.count_down();
  canceller.join();
}

TEST_F(DeadlineTimerTest, CallbackMayCancelItselfAndScheduleAgain) {
  std::promise<void> second_called;
  TimerId first;
  std::latch scheduled(1);
  first = timer_->Schedule(After(kNsPerMs), [&] {
    scheduled.wait();
    EXPECT_FALSE(timer_->Cancel(first));
    timer_->Schedule(clock_.NowNs(), [&] { second_called.set_value(); });
  });
  scheduled.count_down();
  clock_.Advance(kNsPerMs);
  second_called.get_future().wait();
}

TEST_F(DeadlineTimerTest, DropsWhatIsScheduledWhenDestroyed) {
  bool called = false;
  auto owned = std::make_shared<int>(1);
  const std::weak_ptr<int> watch = owned;
  timer_->Schedule(After(kNsPerMs), [&called, owned = std::move(owned)] { called = true; });
  timer_.reset();
  EXPECT_FALSE(called);
  EXPECT_TRUE(watch.expired());
}

TEST_F(DeadlineTimerTest, DestructorWaitsForARunningCallbackThatUsesTheTimer) {
  std::latch started(1);
  std::atomic<bool> ended{false};
  DeadlineTimer* timer = timer_.get();
  const std::int64_t now = clock_.NowNs();
  timer_->Schedule(now, [&, timer] {
    started.count_down();
    timer->Schedule(now, [] {});
    ended = true;
  });
  started.wait();
  timer_.reset();
  EXPECT_TRUE(ended);
}

TEST_F(DeadlineTimerTest, EndsWithoutEverHavingBeenUsed) { timer_.reset(); }

TEST_F(DeadlineTimerTest, AcceptsDeadlinesBeyondAnyClock) {
  const TimerId id = timer_->Schedule(INT64_MAX, [] {});
  std::promise<void> called;
  timer_->Schedule(After(0), [&] { called.set_value(); });
  called.get_future().wait();
  EXPECT_TRUE(timer_->Cancel(id));
}

TEST_F(DeadlineTimerTest, NamesNoCallbackByDefault) {
  EXPECT_FALSE(TimerId());
  EXPECT_FALSE(timer_->Cancel(TimerId()));
}

TEST(DeadlineTimerOnTheSystemClock, CallsBackNotBeforeTheDeadline) {
  DeadlineTimer timer(SystemClock());
  std::promise<std::int64_t> called_at;
  const std::int64_t deadline = SystemClock().NowNs() + 2 * kNsPerMs;
  timer.Schedule(deadline, [&] { called_at.set_value(SystemClock().NowNs()); });
  EXPECT_GE(called_at.get_future().get(), deadline);
}

// Threads schedule and cancel at random; every callback either ran or was cancelled, never both.
TEST(DeadlineTimerOnTheSystemClock, RunsOrCancelsEachCallbackExactlyOnce) {
  constexpr int kThreads = 3;
  constexpr int kTimersEach = 500;
  std::atomic<int> ran{0};
  std::atomic<int> cancelled{0};
  {
    DeadlineTimer timer(SystemClock());
    std::vector<std::thread> threads;
    threads.reserve(kThreads);
    for (int thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([&, thread] {
        for (int i = 0; i < kTimersEach; ++i) {
          const std::int64_t delay_ns = std::int64_t{(i * 7 + thread) % 50} * 1000;
          std::promise<void> mine;
          const TimerId id = timer.Schedule(SystemClock().NowNs() + delay_ns, [&] {
            ran.fetch_add(1);
            mine.set_value();
          });
          if (i % 3 == 0) mine.get_future().wait();
          if (timer.Cancel(id)) cancelled.fetch_add(1);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  EXPECT_EQ(ran + cancelled, kThreads * kTimersEach);
}

}  // namespace
}  // namespace fastserve
