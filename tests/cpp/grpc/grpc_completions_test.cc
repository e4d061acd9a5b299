// Standing in for an I/O thread, without sockets: the turn, the wake-ups, the end.
#include "grpc/grpc_completions.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <memory>
#include <thread>

namespace fastserve {
namespace {

bool Readable(int fd) {
  pollfd waiting{fd, POLLIN, 0};
  return poll(&waiting, 1, 0) == 1;
}

class GrpcCompletionsTest : public testing::Test, protected GrpcLoop {
 protected:
  // As the I/O thread before it waits for events.
  void Sleep() {
    {
      const MutexLock turn(completions_->turn());
      completions_->BindToThisThread(this);
      ASSERT_TRUE(completions_->PrepareToSleep());
    }
  }
  // As an instance's thread that has completed a batch.
  void CompleteBatch(bool idle) {
    std::thread([this, idle] {
      DeliveryScope scope;
      for (int i = 0; i < 3; ++i) completions_->Push(MakeGrpcTask([this] { ++ran_; }));
      scope.set_may_linger(idle);
    }).join();
  }
  void StandIn() override NO_THREAD_SAFETY_ANALYSIS {
    ++stood_in_;
    completions_->RunAll();
    EXPECT_TRUE(completions_->PrepareToSleep());
  }

  const std::shared_ptr<GrpcCompletions> completions_ = std::make_shared<GrpcCompletions>();
  int ran_ = 0;
  int stood_in_ = 0;
};

TEST_F(GrpcCompletionsTest, AnIdleProducerStandsInForASleepingThread) {
  Sleep();
  CompleteBatch(/*idle=*/true);
  EXPECT_EQ(stood_in_, 1) << "once for the batch";
  EXPECT_EQ(ran_, 3);
  EXPECT_FALSE(Readable(completions_->wake_fd())) << "nobody needs to wake";
}

TEST_F(GrpcCompletionsTest, ABusyProducerWakesTheThreadOnce) {
  Sleep();
  CompleteBatch(/*idle=*/false);
  EXPECT_EQ(stood_in_, 0);
  EXPECT_EQ(ran_, 0);
  ASSERT_TRUE(Readable(completions_->wake_fd()));
  completions_->ClearWake();
  CompleteBatch(/*idle=*/false);
  EXPECT_FALSE(Readable(completions_->wake_fd())) << "it is awake already";
}

TEST_F(GrpcCompletionsTest, NobodyStandsInWhileTheThreadHasTheTurn) {
  Sleep();
  const MutexLock turn(completions_->turn());
  CompleteBatch(/*idle=*/true);
  EXPECT_EQ(stood_in_, 0);
  EXPECT_TRUE(Readable(completions_->wake_fd())) << "it may just be falling asleep";
}

TEST_F(GrpcCompletionsTest, AnAwakeThreadIsLeftAlone) {
  {
    const MutexLock turn(completions_->turn());
    completions_->BindToThisThread(this);
  }
  CompleteBatch(/*idle=*/true);
  EXPECT_EQ(stood_in_, 0);
  EXPECT_FALSE(Readable(completions_->wake_fd()));
}

TEST_F(GrpcCompletionsTest, NothingRunsAfterTheEnd) {
  Sleep();
  {
    const MutexLock turn(completions_->turn());
    completions_->Close();
  }
  CompleteBatch(/*idle=*/true);
  EXPECT_EQ(ran_, 0);
  EXPECT_EQ(stood_in_, 0);
}

}  // namespace
}  // namespace fastserve
