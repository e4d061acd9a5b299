// Workers send what the server logs: they are told when that changes.
#include <gtest/gtest.h>

#include <future>

#include "backend/worker/worker_fixture.h"
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

TEST_F(WorkerLogSettings, AnIdleWorkerIsToldAtOnce) {
  std::promise<std::string> told;
  const ScriptedModel loaded = LoadScripted({[&](PeerEnd& peer) {
    peer.Greet();
    told.set_value(peer.Expect(PacketKind::kLogSettings).body);
    EchoForEver(peer);
  }});
  SetVerboseLevel(1);
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
