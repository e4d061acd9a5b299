#include "concurrency/worker_thread.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <array>
#include <atomic>
#include <csignal>
#include <latch>

#include "support/no_more_threads.h"

namespace fastserve {
namespace {

TEST(WorkerThread, RunsItsBodyAndJoinsOnDestruction) {
  std::atomic<bool> ran{false};
  {
    WorkerThread thread("worker", [&] { ran = true; });
    EXPECT_TRUE(thread.started());
  }
  EXPECT_TRUE(ran);
}

TEST(WorkerThread, HasItsNameCutToFifteenCharacters) {
  std::latch named(1);
  std::array<char, 32> name{};
  WorkerThread thread("a-name-that-is-too-long", [&] {
    named.wait();
    pthread_getname_np(pthread_self(), name.data(), name.size());
  });
  named.count_down();
  thread.Join();
  EXPECT_STREQ(name.data(), "a-name-that-is-");
}

TEST(WorkerThread, LeavesSignalsToTheOtherThreads) {
  sigset_t mask;
  sigemptyset(&mask);
  WorkerThread("worker", [&] { pthread_sigmask(SIG_SETMASK, nullptr, &mask); }).Join();
  EXPECT_EQ(sigismember(&mask, SIGTERM), 1);
  EXPECT_EQ(sigismember(&mask, SIGINT), 1);
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  EXPECT_EQ(sigismember(&mask, SIGTERM), 0);
}

TEST(WorkerThread, ThreadThatCannotBeMadeIsAnError) {
  bool ran = false;
  {
    const NoMoreThreads none;
    const auto thread = WorkerThread::TryStart("worker", [&] { ran = true; });
    EXPECT_EQ(thread.status().code(), StatusCode::kUnavailable);
    EXPECT_EQ(thread.status().message().find("cannot start thread 'worker'"), 0U)
        << thread.status().message();
  }
  EXPECT_FALSE(ran);
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  EXPECT_EQ(sigismember(&mask, SIGTERM), 0);
  auto thread = WorkerThread::TryStart("worker", [&] { ran = true; });
  ASSERT_TRUE(thread.ok());
  thread->Join();
  EXPECT_TRUE(ran);
}

TEST(WorkerThread, JoinsTheOldThreadWhenAssigned) {
  std::atomic<int> ended{0};
  WorkerThread thread("first", [&] { ++ended; });
  thread = WorkerThread("second", [&] { ++ended; });
  EXPECT_GE(ended, 1);
  thread.Join();
  EXPECT_EQ(ended, 2);
  EXPECT_FALSE(thread.started());
}

}  // namespace
}  // namespace fastserve
