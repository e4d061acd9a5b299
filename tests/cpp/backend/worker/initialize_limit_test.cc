// A worker whose model does not come to the end of its initialize.
#include <gmock/gmock.h>

#include <future>

#include "backend/worker/worker_fixture.h"

namespace fastserve {
namespace {

using ::testing::HasSubstr;

void NeverInitializes(PeerEnd& peer) {
  peer.Expect(PacketKind::kInitialize);
  peer.Expect(PacketKind::kFinalize);
}

std::unique_ptr<Backend> BackendOf(PeerScript script) {
  WorkerBackendOptions options;
  options.launcher = std::make_shared<ScriptedLauncher>(std::vector<PeerScript>{std::move(script)});
  return CreateWorkerBackend(std::move(options));
}

std::shared_ptr<ModelSpec> WithSetting(const std::string& seconds) {
  auto spec = MakeSpec("python", 8);
  spec->backend_config["stub-timeout-seconds"] = seconds;
  return spec;
}

TEST(InitializeLimit, EndsTheFirstLoadWithTheLimit) {
  const auto backend = BackendOf(NeverInitializes);
  const auto model = backend->LoadModel(WithSetting("0.02"));
  const auto instance = (*model)->CreateInstance("m_0");
  EXPECT_THAT(instance.status().message(), HasSubstr("did not initialize within 0.02 s"));
  EXPECT_THAT(instance.status().message(), HasSubstr("stub-timeout-seconds"));
}

TEST(InitializeLimit, EndsAutoCompletionToo) {
  const auto config = BackendOf(NeverInitializes)->AutoComplete(*WithSetting("0.02"));
  EXPECT_THAT(config.status().message(), HasSubstr("did not initialize within 0.02 s"));
}

TEST(InitializeLimit, IsRefusedWhenItIsNoNumberOfSeconds) {
  const auto model = BackendOf(EchoForEver)->LoadModel(WithSetting("soon"));
  EXPECT_EQ(model.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(model.status().message(), HasSubstr("'stub-timeout-seconds' is 'soon'"));
}

TEST(InitializeLimit, ARestartThatHangsIsFollowedByAnother) {
  const ScriptedModel loaded = LoadScripted(
      {[](PeerEnd& peer) { peer.Greet(); }, NeverInitializes, EchoForEver}, WithSetting("0.02"));
  while (loaded.launcher->launched() < 2) std::this_thread::yield();
  // It waits for the second one, and fails with the reason, unless the third one is there already.
  InferResponse response;
  const Status status = loaded.Run(1, &response);
  if (!status.ok()) {
    EXPECT_EQ(status.code(), StatusCode::kUnavailable);
    EXPECT_THAT(status.message(), HasSubstr("did not initialize within"));
  }
  while (loaded.launcher->launched() < 3) std::this_thread::yield();
  while (!loaded.Run(2, &response).ok()) std::this_thread::yield();
}

TEST(InitializeLimit, WhatWaitsForAHangingRestartCanBeCancelled) {
  std::promise<void> may_start;
  const ScriptedModel loaded = LoadScripted({[](PeerEnd& peer) { peer.Greet(); },
                                             [&](PeerEnd& peer) {
                                               may_start.get_future().wait();
                                               EchoForEver(peer);
                                             }});
  while (loaded.launcher->launched() < 2) std::this_thread::yield();
  const RequestPtr request = MakeRequest("r", std::make_shared<RecordingSink>());
  AwaitedExecution cancelled({request});
  const RequestPtr half = MakeRequest("half", std::make_shared<RecordingSink>());
  AwaitedExecution kept({half, MakeRequest("other", std::make_shared<RecordingSink>())});
  loaded.instance->Execute(&cancelled.execution, &cancelled);
  loaded.instance->Execute(&kept.execution, &kept);
  half->Cancel();
  request->Cancel();
  EXPECT_EQ(cancelled.Await().code(), StatusCode::kCancelled);
  may_start.set_value();
  EXPECT_TRUE(kept.Await().ok()) << kept.status.message();
}

}  // namespace
}  // namespace fastserve
