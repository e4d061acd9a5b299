// Workers send what the server logs: they are told when that changes.
#include <gtest/gtest.h>
#include <poll.h>

#include <future>

#include "backend/worker/worker_fixture.h"
#include "backend/worker/worker_life.h"
#include "base/log.h"

namespace fastserve {
namespace {

void SetVerboseLevel(int level) {
  GlobalLogSettings().verbose_level = level;
  TellLogSettings();
}

class WorkerLogSettings : public ::testing::Test {
 protected:
  void TearDown() override { SetVerboseLevel(0); }
};

TEST_F(WorkerLogSettings, AWorkerIsToldTheLevelAfterItsStart) {
  std::promise<std::string> told;
  const ScriptedModel loaded = LoadScripted({[&](PeerEnd& peer) {
    peer.Greet();
    told.set_value(peer.Expect(PacketKind::kLogSettings).body);
    EchoForEver(peer);
  }});
  EXPECT_EQ(told.get_future().get(), R"({"level":2})");
}

TEST_F(WorkerLogSettings, AChangeWakesWhoWaitsForTheWorkerAndReachesIt) {
  std::promise<std::string> told;
  WorkerPlan plan;
  plan.spec = MakeSpec("python", 8);
  plan.clock = &SystemClock();
  plan.launcher = std::make_shared<ScriptedLauncher>(std::vector<PeerScript>{[&](PeerEnd& peer) {
    peer.Greet();
    (void)peer.Expect(PacketKind::kLogSettings);
    told.set_value(peer.Expect(PacketKind::kLogSettings).body);
    peer.Expect(PacketKind::kFinalize);
  }});
  const auto wakeup = std::make_shared<Wakeup>();
  const std::unique_ptr<WorkerLife> life = std::move(*WorkerLife::Start(plan, wakeup));
  while (!life->session()->greeting()) ASSERT_TRUE(life->Step(-1).ok());
  wakeup->Clear();
  pollfd waiting{wakeup->fd(), POLLIN, 0};
  ASSERT_EQ(poll(&waiting, 1, 0), 0);
  SetVerboseLevel(1);
  EXPECT_EQ(poll(&waiting, 1, 0), 1);
  ASSERT_TRUE(life->Step(-1).ok());
  EXPECT_EQ(told.get_future().get(), R"({"level":3})");
}

TEST_F(WorkerLogSettings, AWorkerThatIsGoneIsNotTold) {
  {
    const ScriptedModel loaded = LoadScripted({});
  }
  SetVerboseLevel(1);  // nothing of it is used any more: for the sanitizers
  const ScriptedModel next = LoadScripted({[&](PeerEnd& peer) {
    peer.Greet();
    EXPECT_NE(peer.initialize.find(R"("log_level":3)"), std::string::npos);
    for (;;) peer.Echo(peer.ExpectExecution());
  }});
  InferResponse response;
  EXPECT_TRUE(next.Run(1, &response).ok());
}

}  // namespace
}  // namespace fastserve
