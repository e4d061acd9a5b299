#include "engine/engine.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "support/no_more_threads.h"
#include "support/puppet_backend.h"
#include "support/requests.h"

namespace fastserve {
namespace {

class EngineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.max_inflight_bytes = 1 << 20;
    Restart();
  }
  ~EngineTest() override { strings_->Release(); }

  void Restart() {
    auto engine = Engine::Create(options_);
    ASSERT_TRUE(engine.ok());
    engine_ = std::move(*engine);
    engine_->RegisterBackend(std::make_unique<PuppetBackend>(strings_));
  }
  LoadedModelPtr Load(std::int64_t version = 1) {
    auto spec = std::make_shared<ModelSpec>(*MakeSpec("puppet", 8));
    spec->version = version;
    auto model = engine_->LoadModel(spec);
    EXPECT_TRUE(model.ok()) << model.status().message();
    return *model;
  }
  RequestPtr Submit(const std::string& id, std::int64_t version = -1) {
    RequestPtr request = MakeRequest(id, sink_);
    request->model_version = version;
    engine_->Submit(request);
    return request;
  }
  Status Outcome(std::size_t index) { return sink_->Await(index + 1)[index].response.status; }

  EngineOptions options_;
  std::shared_ptr<PuppetStrings> strings_ = std::make_shared<PuppetStrings>();
  std::shared_ptr<RecordingSink> sink_ = std::make_shared<RecordingSink>();
  std::unique_ptr<Engine> engine_;
};

TEST_F(EngineTest, UnknownModelsAndVersionsAreNamed) {
  Submit("a");
  EXPECT_EQ(Outcome(0).message(), "Request for unknown model: 'm' is not found");
  EXPECT_EQ(Outcome(0).code(), StatusCode::kNotFound);
  (void)engine_->Publish("m", {Load(3)});
  Submit("b", 2);
  EXPECT_EQ(Outcome(1).message(), "Request for unknown model: 'm' version 2 is not found");
  (void)engine_->Publish("m", {});
  Submit("c");
  EXPECT_EQ(Outcome(2).message(), "Request for unknown model: 'm' has no available versions");
  EXPECT_EQ(engine_->inflight_requests(), 0U);
}

TEST_F(EngineTest, NewestVersionAnswersUnlessOneIsAskedFor) {
  (void)engine_->Publish("m", {Load(10), Load(9)});
  Submit("a");
  Submit("b", 9);
  auto answers = sink_->Await(2);
  for (const auto& answer : answers) {
    EXPECT_EQ(answer.response.model_version, answer.id == "a" ? 10 : 9);
  }
}

TEST_F(EngineTest, MissingBackendIsNamed) {
  auto model = engine_->LoadModel(MakeSpec("nothing", 1));
  EXPECT_EQ(model.status().message(), "model 'm': unable to find backend 'nothing'");
}

TEST_F(EngineTest, PassiveInstanceIsLoadedAndNeverRuns) {
  const auto spec = MakeSpec("puppet", 1);
  spec->instance_groups.resize(2);
  spec->instance_groups[0].name = "spare";
  spec->instance_groups[0].passive = true;
  spec->instance_groups[1].name = "active";
  auto model = engine_->LoadModel(spec);
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(strings_->created(), (std::vector<std::string>{"spare_0", "active_0"}));
  (void)engine_->Publish("m", {*model});
  for (int i = 0; i < 20; ++i) Submit(std::to_string(i));
  for (const auto& answer : sink_->Await(20)) EXPECT_TRUE(answer.response.status.ok());
  for (const auto& seen : strings_->seen()) EXPECT_EQ(seen.instance, "active_0");
}

TEST_F(EngineTest, ModelWithoutThreadsForItsInstancesDoesNotLoad) {
  for (const bool sequences : {false, true}) {
    const auto spec = MakeSpec("puppet", 1);
    spec->dynamic_batching.enabled = !sequences;
    spec->sequence_batching.enabled = sequences;
    const NoMoreThreads none;
    const auto model = engine_->LoadModel(spec);
    EXPECT_EQ(model.status().code(), StatusCode::kUnavailable);
    EXPECT_NE(model.status().message().find("cannot start thread"), std::string::npos)
        << model.status().message();
  }
  EXPECT_NE(Load(), nullptr);
}

TEST_F(EngineTest, InvalidRequestFailsAndCountsAsOther) {
  const LoadedModelPtr model = Load();
  (void)engine_->Publish("m", {model});
  RequestPtr request = MakeRequest("a", sink_);
  request->inputs[0].name = "Z";
  engine_->Submit(request);
  EXPECT_EQ(Outcome(0).code(), StatusCode::kInvalidArgument);
  EXPECT_NE(engine_->StatisticsJson("m", 1)->find("\"fail\":{\"count\":1"), std::string::npos);
  const std::string failures = "nv_inference_request_failure{model=\"m\",reason=\"";
  const std::string text = engine_->MetricsText();
  EXPECT_NE(text.find(failures + "OTHER\",version=\"1\"} 1\n"), std::string::npos) << text;
  EXPECT_NE(text.find(failures + "REJECTED\",version=\"1\"} 0\n"), std::string::npos) << text;
}

TEST_F(EngineTest, RequestBeyondTheInflightBytesIsRefusedAndGivesNothingBack) {
  options_.max_inflight_bytes = 100;
  Restart();
  (void)engine_->Publish("m", {Load()});
  engine_->Submit(MakeRequest("big", sink_, 0, 1, 26));
  EXPECT_EQ(Outcome(0).code(), StatusCode::kUnavailable);
  EXPECT_NE(Outcome(0).message().find("--max-inflight-bytes"), std::string::npos)
      << Outcome(0).message();
  engine_->Submit(MakeRequest("fits", sink_, 0, 1, 25));
  EXPECT_TRUE(Outcome(1).ok());
  EXPECT_TRUE(engine_->WaitIdle(-1));
  EXPECT_EQ(engine_->inflight_bytes(), 0U);
}

TEST_F(EngineTest, DrainWaitsForTheRequestsOfThatModelOnly) {
  const LoadedModelPtr model = Load();
  (void)engine_->Publish("m", {model});
  strings_->Hold();
  Submit("a");
  strings_->AwaitStarted(1);
  EXPECT_FALSE(engine_->Drain(model, 0));
  strings_->Release();
  EXPECT_TRUE(engine_->Drain(model, -1));
  EXPECT_TRUE(Outcome(0).ok());
}

TEST_F(EngineTest, AfterStopAcceptingRunningRequestsFinishAndNewOnesAreRefused) {
  (void)engine_->Publish("m", {Load()});
  strings_->Hold();
  Submit("running");
  strings_->AwaitStarted(1);
  engine_->StopAccepting();
  Submit("new");
  EXPECT_EQ(Outcome(0).code(), StatusCode::kUnavailable);
  EXPECT_FALSE(engine_->live());
  EXPECT_FALSE(engine_->WaitIdle(0));
  strings_->Release();
  EXPECT_TRUE(engine_->WaitIdle(-1));
  EXPECT_TRUE(Outcome(1).ok());
}

TEST_F(EngineTest, ReplacedVersionsAreHandedBackAndOthersStay) {
  const LoadedModelPtr one = Load(1);
  const LoadedModelPtr two = Load(2);
  EXPECT_TRUE(engine_->Publish("m", {one, two}).empty());
  const auto gone = engine_->Publish("m", {two});
  ASSERT_EQ(gone.size(), 1U);
  EXPECT_EQ(gone[0], one);
}

TEST_F(EngineTest, LastReferenceMayBeDroppedByTheLastResponse) {
  LoadedModelPtr model = Load();
  (void)engine_->Publish("m", {model});
  strings_->Hold();
  Submit("a");
  strings_->AwaitStarted(1);
  (void)engine_->Publish("m", {});
  model.reset();  // now only the request holds the model
  strings_->Release();
  EXPECT_TRUE(Outcome(0).ok());
  EXPECT_TRUE(engine_->WaitIdle(-1));
}

TEST_F(EngineTest, LenderRunsWhatItSubmitted) {
  (void)engine_->Publish("m", {Load()});
  // At first the model is not measured yet, and the instance may still be giving its slot back.
  bool ran = false;
  for (std::size_t sent = 1; !ran && sent <= 10'000; ++sent) {
    Lender lender;
    engine_->Submit(MakeRequest("a", sink_), &lender);
    ran = lender.Run();
    sink_->Await(sent);
  }
  EXPECT_TRUE(ran);
  EXPECT_EQ(strings_->seen().back().thread, std::this_thread::get_id());
}

TEST_F(EngineTest, NoRequestIsLostWhileVersionsAreSwapped) {
  (void)engine_->Publish("m", {Load(1)});
  std::atomic<bool> swapping{true};
  std::thread swapper([&] {
    for (std::int64_t version = 2; version < 30; ++version) {
      LoadedModelPtr next = Load(version);
      for (const LoadedModelPtr& old : engine_->Publish("m", {next}))
        EXPECT_TRUE(engine_->Drain(old, -1));
    }
    swapping = false;
  });
  std::size_t sent = 0;
  while (swapping) {
    Submit(std::to_string(sent++));
    if (sent % 64 == 0) sink_->Await(sent);
  }
  swapper.join();
  for (const auto& answer : sink_->Await(sent)) {
    EXPECT_TRUE(answer.response.status.ok()) << answer.response.status.message();
  }
  EXPECT_TRUE(engine_->WaitIdle(-1));
}

TEST_F(EngineTest, StatisticsOfUnknownModelsAreAnError) {
  EXPECT_EQ(engine_->StatisticsJson("m", -1).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(*engine_->StatisticsJson("", -1), "{\"model_stats\":[]}");
}

TEST_F(EngineTest, MetricsCarryTritonsNamesAndLabels) {
  (void)engine_->Publish("m", {Load()});
  Submit("a");
  sink_->Await(1);
  EXPECT_TRUE(engine_->WaitIdle(-1));
  const std::string text = engine_->MetricsText();
  for (const char* line :
       {"nv_inference_request_success{model=\"m\",version=\"1\"} 1\n",
        "nv_inference_request_failure{model=\"m\",reason=\"CANCELED\",version=\"1\"} 0\n",
        "# TYPE nv_inference_request_duration_us counter\n",
        "nv_inference_queue_duration_us_count{model=\"m\",version=\"1\"} 1\n",
        "nv_inference_pending_request_count{model=\"m\",version=\"1\"} 0\n"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << "\n" << text;
  }
}

TEST_F(EngineTest, ModelWithSequenceBatchingServesSequences) {
  auto spec = std::make_shared<ModelSpec>(*MakeSpec("puppet", 8));
  spec->dynamic_batching.enabled = false;
  spec->sequence_batching.enabled = true;
  auto model = engine_->LoadModel(spec);
  ASSERT_TRUE(model.ok());
  (void)engine_->Publish("m", {*model});
  for (const bool starts : {false, true}) {
    RequestPtr request = MakeRequest("r", sink_);
    request->sequence_id = std::uint64_t{7};
    request->sequence_start = starts;
    engine_->Submit(request);
  }
  EXPECT_NE(Outcome(0).message().find("must specify the START flag"), std::string::npos);
  EXPECT_TRUE(Outcome(1).ok());
  EXPECT_TRUE(engine_->WaitIdle(-1));
}

TEST_F(EngineTest, ReadinessIsWhatTheControlPlaneSaysUntilTheServerStops) {
  EXPECT_FALSE(engine_->ready());
  engine_->SetReady(true);
  EXPECT_TRUE(engine_->ready());
  engine_->StopAccepting();
  EXPECT_FALSE(engine_->ready());
}

}  // namespace
}  // namespace fastserve
