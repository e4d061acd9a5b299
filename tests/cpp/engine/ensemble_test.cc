// Ensembles through the engine: real members, versions that come and go, lent threads.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "support/puppet_backend.h"
#include "support/requests.h"

namespace fastserve {
namespace {

class EnsembleEngineTest : public ::testing::Test {
 protected:
  EnsembleEngineTest() {
    EngineOptions options;
    options.max_inflight_bytes = 1 << 20;
    engine_ = std::move(*Engine::Create(options));
    engine_->RegisterBackend(std::make_unique<PuppetBackend>(strings_));
  }
  ~EnsembleEngineTest() override { strings_->Release(); }

  Result<LoadedModelPtr> Load(std::shared_ptr<ModelSpec> spec, std::int64_t version = 1) {
    spec->version = version;
    return engine_->LoadModel(std::move(spec));
  }
  // A puppet model X -> X.
  LoadedModelPtr PublishMember(const std::string& name, std::int64_t version = 1) {
    auto spec = std::make_shared<ModelSpec>(*MakeSpec("puppet", 8));
    spec->name = name;
    LoadedModelPtr model = Load(spec, version).value();
    for (const LoadedModelPtr& old : engine_->Publish(name, {model})) engine_->Drain(old, -1);
    return model;
  }
  // An ensemble X -> Y whose steps are models X -> X or, for names that begin with "e", X -> Y.
  static std::shared_ptr<ModelSpec> ChainSpec(const std::string& name,
                                              const std::vector<std::string>& members) {
    auto spec = std::make_shared<ModelSpec>(*MakeSpec("", 8));
    spec->name = name;
    spec->outputs[0].name = "Y";
    spec->dynamic_batching.enabled = false;
    spec->ensemble.enabled = true;
    for (std::size_t i = 0; i < members.size(); ++i) {
      const std::string from = i == 0 ? "X" : "t" + std::to_string(i);
      const std::string to = i + 1 == members.size() ? "Y" : "t" + std::to_string(i + 1);
      const std::string output = members[i][0] == 'e' ? "Y" : "X";
      spec->ensemble.steps.push_back({members[i], -1, {{"X", from}}, {{output, to}}});
    }
    return spec;
  }
  LoadedModelPtr PublishChain(const std::string& name, const std::vector<std::string>& members) {
    auto model = Load(ChainSpec(name, members));
    EXPECT_TRUE(model.ok()) << model.status().message();
    (void)engine_->Publish(name, {*model});
    return *model;
  }
  RequestPtr Submit(const std::string& id, float value = 0, Lender* lender = nullptr,
                    const std::string& model = "e") {
    RequestPtr request = MakeRequest(id, sink_, value);
    request->model_name = model;
    engine_->Submit(request, lender);
    return request;
  }
  Status Outcome(std::size_t index) { return sink_->Await(index + 1)[index].response.status; }

  std::shared_ptr<PuppetStrings> strings_ = std::make_shared<PuppetStrings>();
  std::shared_ptr<RecordingSink> sink_ = std::make_shared<RecordingSink>();
  std::unique_ptr<Engine> engine_;
};

TEST_F(EnsembleEngineTest, AnswersThroughAllOfItsMembersWithoutABackend) {
  for (const char* name : {"a", "b", "c"}) PublishMember(name);
  PublishChain("e", {"a", "b", "c"});
  Submit("r", 7);
  const auto answers = sink_->Await(1);
  ASSERT_TRUE(answers[0].response.status.ok()) << answers[0].response.status.message();
  EXPECT_EQ(answers[0].response.model_name, "e");
  EXPECT_EQ(FloatsOf(answers[0].response.outputs.at(0)), (std::vector<float>{7, 7}));
  EXPECT_EQ(strings_->seen().size(), 3U);
}

TEST_F(EnsembleEngineTest, MembersLoadInAnyOrderAndTheEnsembleIsReadyWhenAllAreThere) {
  PublishChain("e", {"a", "b"});
  EXPECT_EQ(engine_->model_state("e", -1), ModelState::kUnavailable);
  Submit("early");
  EXPECT_EQ(Outcome(0).message(), "in ensemble 'e', Request for unknown model: 'a' is not found");
  EXPECT_EQ(Outcome(0).code(), StatusCode::kNotFound);
  PublishMember("a");
  EXPECT_EQ(engine_->model_state("e", -1), ModelState::kUnavailable);
  PublishMember("b");
  EXPECT_EQ(engine_->model_state("e", -1), ModelState::kReady);
  Submit("r");
  EXPECT_TRUE(Outcome(1).ok());
}

TEST_F(EnsembleEngineTest, MembersThatDoNotFitAreAnErrorOfTheLoad) {
  PublishMember("a");
  auto spec = ChainSpec("e", {"a"});
  spec->outputs[0].type = DataType::kInt32;
  EXPECT_EQ(Load(spec).status().message(),
            "in ensemble 'e', step 1 (model 'a'): ensemble tensor 'Y' is INT32 in model 'e' and "
            "FP32 in model 'a'");
}

TEST_F(EnsembleEngineTest, EnsemblesNest) {
  for (const char* name : {"a", "b"}) PublishMember(name);
  PublishChain("e_inner", {"a", "b"});
  PublishChain("e", {"a", "e_inner", "e_inner"});
  EXPECT_EQ(engine_->model_state("e", -1), ModelState::kReady);
  Submit("r", 3);
  EXPECT_TRUE(Outcome(0).ok()) << Outcome(0).message();
  EXPECT_EQ(strings_->seen().size(), 5U);
  EXPECT_TRUE(engine_->WaitIdle(-1));
}

TEST_F(EnsembleEngineTest, EnsemblesThatContainEachOtherFailTheRequestAndAreNotReady) {
  PublishMember("a");
  PublishChain("e", {"a", "e2"});
  PublishChain("e2", {"e"});
  EXPECT_EQ(engine_->model_state("e", -1), ModelState::kUnavailable);
  Submit("r");
  EXPECT_EQ(Outcome(0).message(),
            "in ensemble 'e', in ensemble 'e2', ensembles are steps of each other: 'e' -> 'e2' -> "
            "'e'");
  EXPECT_TRUE(engine_->WaitIdle(-1));
}

TEST_F(EnsembleEngineTest, StepsAreNotCountedAsRequestsOrBytesOfTheirOwn) {
  for (const char* name : {"a", "b"}) PublishMember(name);
  PublishChain("e", {"a", "b"});
  strings_->Hold();
  Submit("r");
  strings_->AwaitStarted(1);
  EXPECT_EQ(engine_->inflight_requests(), 1U);
  EXPECT_EQ(engine_->inflight_bytes(), 2 * sizeof(float));
  strings_->Release();
  EXPECT_TRUE(engine_->WaitIdle(-1));
  EXPECT_EQ(engine_->inflight_bytes(), 0U);
}

TEST_F(EnsembleEngineTest, UnloadedMemberFailsTheRunningRequestAndNothingElse) {
  for (const char* name : {"a", "b"}) PublishMember(name);
  PublishChain("e", {"a", "b"});
  strings_->Hold();
  Submit("r");
  strings_->AwaitStarted(1);
  (void)engine_->Publish("b", {});
  strings_->Release();
  EXPECT_EQ(Outcome(0).message(),
            "in ensemble 'e', Request for unknown model: 'b' has no available versions");
  Submit("alone", 0, nullptr, "a");
  EXPECT_TRUE(Outcome(1).ok());
  PublishMember("b", 2);
  Submit("next");
  EXPECT_TRUE(Outcome(2).ok());
}

TEST_F(EnsembleEngineTest, FullQueueOfAMemberFailsTheRequestAndNothingElse) {
  auto spec = std::make_shared<ModelSpec>(*MakeSpec("puppet", 8));
  spec->name = "a";
  spec->dynamic_batching.enabled = false;
  spec->dynamic_batching.default_queue_policy.max_queue_size = 1;
  (void)engine_->Publish("a", {*Load(spec)});
  PublishChain("e", {"a"});
  strings_->Hold();
  Submit("running");
  strings_->AwaitStarted(1);
  Submit("waiting");
  Submit("full");
  EXPECT_EQ(sink_->Await(1)[0].id, "full");
  EXPECT_EQ(Outcome(0).code(), StatusCode::kUnavailable);
  EXPECT_EQ(Outcome(0).message(), "in ensemble 'e', Exceeds maximum queue size");
  strings_->Release();
  EXPECT_TRUE(Outcome(1).ok());
  EXPECT_TRUE(Outcome(2).ok());
}

TEST_F(EnsembleEngineTest, DrainOfTheEnsembleWaitsForItsRequests) {
  PublishMember("a");
  const LoadedModelPtr ensemble = PublishChain("e", {"a"});
  strings_->Hold();
  Submit("r");
  strings_->AwaitStarted(1);
  (void)engine_->Publish("e", {});
  EXPECT_FALSE(engine_->Drain(ensemble, 0));
  strings_->Release();
  EXPECT_TRUE(engine_->Drain(ensemble, -1));
  EXPECT_TRUE(Outcome(0).ok());
}

TEST_F(EnsembleEngineTest, RequestRunsToItsEndAfterStopAccepting) {
  for (const char* name : {"a", "b"}) PublishMember(name);
  PublishChain("e", {"a", "b"});
  strings_->Hold();
  Submit("r");
  strings_->AwaitStarted(1);
  engine_->StopAccepting();
  strings_->Release();
  EXPECT_TRUE(engine_->WaitIdle(-1));
  EXPECT_TRUE(Outcome(0).ok()) << Outcome(0).message();
}

TEST_F(EnsembleEngineTest, EngineThatGoesAwayAnswersEveryRequest) {
  for (const char* name : {"a", "b"}) PublishMember(name);
  PublishChain("e", {"a", "b"});
  constexpr std::size_t kRequests = 200;
  for (std::size_t i = 0; i < kRequests; ++i) Submit(std::to_string(i));
  engine_.reset();
  EXPECT_EQ(sink_->count(), kRequests);
}

TEST_F(EnsembleEngineTest, StepsAreCountedInTheStatisticsOfTheirModels) {
  for (const char* name : {"a", "b"}) PublishMember(name);
  PublishChain("e", {"a", "b", "a"});
  Submit("r");
  ASSERT_TRUE(Outcome(0).ok());
  EXPECT_TRUE(engine_->WaitIdle(-1));
  const auto count = [&](const char* name) {
    const std::string json = *engine_->StatisticsJson(name, 1);
    const std::string key = "\"execution_count\":";
    return json.substr(json.find(key) + key.size(), 1);
  };
  EXPECT_EQ(count("a"), "2");
  EXPECT_EQ(count("b"), "1");
  EXPECT_EQ(count("e"), "1");
}

TEST_F(EnsembleEngineTest, LenderRunsEveryStepOfCheapMembersOnItsThread) {
  for (const char* name : {"a", "b", "c"}) PublishMember(name);
  PublishChain("e", {"a", "b", "c"});
  // At first the models are not measured yet, and an instance may still be giving its slot back.
  bool all_here = false;
  for (std::size_t sent = 1; !all_here && sent <= 10'000; ++sent) {
    const std::size_t before = strings_->seen().size();
    Lender lender;
    Submit("r", 1, &lender);
    lender.Run();
    sink_->Await(sent);
    const auto seen = strings_->seen();
    all_here = std::all_of(seen.begin() + static_cast<std::ptrdiff_t>(before), seen.end(),
                           [](const auto& s) { return s.thread == std::this_thread::get_id(); });
  }
  EXPECT_TRUE(all_here);
}

TEST_F(EnsembleEngineTest, ReloadOfAMemberUnderLoadLosesNoRequest) {
  for (const char* name : {"a", "b"}) PublishMember(name);
  PublishChain("e", {"a", "b"});
  std::atomic<bool> swapping{true};
  std::thread swapper([&] {
    for (std::int64_t version = 2; version < 30; ++version) PublishMember("b", version);
    swapping = false;
  });
  std::size_t sent = 0;
  while (swapping) {
    Submit(std::to_string(sent++));
    if (sent % 64 == 0) sink_->Await(sent);
  }
  swapper.join();
  std::set<std::string> ids;
  for (const auto& answer : sink_->Await(sent)) {
    EXPECT_TRUE(answer.response.status.ok()) << answer.response.status.message();
    EXPECT_TRUE(ids.insert(answer.id).second) << "answered twice: " << answer.id;
  }
  EXPECT_TRUE(engine_->WaitIdle(-1));
}

// Requests go in from several threads, are cancelled, lent, and run through diamonds of shared
// members with a limit: nothing hangs and nothing is answered twice.
TEST_F(EnsembleEngineTest, EveryRequestIsAnsweredExactlyOnceUnderLoad) {
  for (const char* name : {"a", "b", "c"}) PublishMember(name);
  auto spec = ChainSpec("e", {"a", "b"});
  spec->outputs.push_back(spec->outputs[0]);
  spec->outputs[1].name = "side";
  spec->ensemble.steps.push_back({"c", -1, {{"X", "t1"}}, {{"X", "side"}}});
  spec->ensemble.max_inflight_requests = 5;
  (void)engine_->Publish("e", {*Load(spec)});
  constexpr int kThreads = 4;
  constexpr int kRequests = 500;
  std::vector<std::thread> clients;
  for (int t = 0; t < kThreads; ++t) {
    clients.emplace_back([this, t] {
      Lender lender;
      for (int i = 0; i < kRequests; ++i) {
        const int number = t * kRequests + i;
        const RequestPtr request = Submit(std::to_string(number), static_cast<float>(number),
                                          i % 2 == 0 ? &lender : nullptr);
        if (i % 7 == 0) request->Cancel();
        lender.Run();
      }
    });
  }
  for (std::thread& client : clients) client.join();
  std::set<std::string> ids;
  for (const auto& answer : sink_->Await(kThreads * kRequests)) {
    EXPECT_TRUE(ids.insert(answer.id).second) << "answered twice: " << answer.id;
    if (!answer.response.status.ok()) continue;
    EXPECT_EQ(FloatsOf(answer.response.outputs.at(1))[0], std::stof(answer.id));
  }
  EXPECT_TRUE(engine_->WaitIdle(-1));
}

}  // namespace
}  // namespace fastserve
