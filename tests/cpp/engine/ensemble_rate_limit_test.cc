// No deadlock between ensembles, their max_inflight_requests and the rate limiter: nested ensembles
// whose members share scarce resources, from many callers who cancel. docs/rate_limiter.md has the
// argument.
#include <gtest/gtest.h>

#include <memory>
#include <semaphore>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/puppet_backend.h"
#include "support/random.h"
#include "support/requests.h"
#include "support/scarce_resources.h"

namespace fastserve {
namespace {

class EnsembleRateLimitTest : public ::testing::Test {
 protected:
  EnsembleRateLimitTest() { engine_->RegisterBackend(std::make_unique<PuppetBackend>(strings_)); }
  ~EnsembleRateLimitTest() override { strings_->Release(); }

  void Publish(const std::shared_ptr<ModelSpec>& spec) {
    spec->version = 1;
    const auto model = engine_->LoadModel(spec);
    ASSERT_TRUE(model.ok()) << model.status().message();
    for (const LoadedModelPtr& old : engine_->Publish(spec->name, {*model}))
      engine_->Drain(old, -1);
  }
  // A puppet model X -> X whose instances each need the given resources.
  void PublishMember(const std::string& name, Needs needs, int instances = 1,
                     bool sequences = false) {
    auto spec = std::make_shared<ModelSpec>(*MakeSpec("puppet", 8));
    spec->name = name;
    if (sequences) {
      spec->dynamic_batching.enabled = false;
      spec->sequence_batching.enabled = true;
    }
    spec->instance_groups.push_back(GroupThatNeeds(needs, name, instances));
    Publish(spec);
  }
  // An ensemble X -> Y of models X -> X and, where the name begins with "e", X -> Y.
  void PublishChain(const std::string& name, const std::vector<std::string>& members,
                    std::uint32_t max_inflight_requests) {
    auto spec = std::make_shared<ModelSpec>(*MakeSpec("", 8));
    spec->name = name;
    spec->outputs[0].name = "Y";
    spec->dynamic_batching.enabled = false;
    spec->ensemble.enabled = true;
    spec->ensemble.max_inflight_requests = max_inflight_requests;
    for (std::size_t i = 0; i < members.size(); ++i) {
      const std::string from = i == 0 ? "X" : "t" + std::to_string(i);
      const std::string to = i + 1 == members.size() ? "Y" : "t" + std::to_string(i + 1);
      const std::string output = members[i][0] == 'e' ? "Y" : "X";
      spec->ensemble.steps.push_back({members[i], -1, {{"X", from}}, {{output, to}}});
    }
    Publish(spec);
  }
  RequestPtr Submit(const std::string& id, const std::string& model, Lender* lender = nullptr) {
    RequestPtr request = MakeRequest(id, sink_);
    request->model_name = model;
    request->sequence_id = std::hash<std::string>()(id) | 1U;
    request->sequence_start = true;
    request->sequence_end = true;
    engine_->Submit(request, lender);
    return request;
  }
  // Requests to every model and ensemble; some are lent, some cancelled at once or later.
  void RunCaller(int caller, int count) {
    static const std::vector<std::string> kModels = {"e_outer", "e_left", "e_right", "wide",
                                                     "narrow",  "turns",  "e_outer"};
    RepeatableRandom random(static_cast<std::uint64_t>(caller));
    Lender lender;
    RequestPtr earlier;
    for (int i = 0; i < count; ++i) {
      const std::string& model =
          kModels[static_cast<std::size_t>(random.Below(std::ssize(kModels)))];
      const RequestPtr request = Submit(std::to_string(caller) + "." + std::to_string(i), model,
                                        random.Below(2) == 0 ? &lender : nullptr);
      if (random.Below(6) == 0) request->Cancel();
      if (random.Below(6) == 0 && earlier) earlier->Cancel();
      if (random.Below(3) == 0) lender.Run();
      earlier = request;
    }
  }

  std::shared_ptr<PuppetStrings> strings_ = std::make_shared<PuppetStrings>();
  std::shared_ptr<RecordingSink> sink_ = std::make_shared<RecordingSink>();
  std::unique_ptr<Engine> engine_ = EngineWithSlots(2);
};

TEST_F(EnsembleRateLimitTest, NestedEnsemblesOfMembersThatShareScarceResourcesAllFinish) {
  constexpr int kCallers = 4;
  constexpr int kRequests = 400;
  PublishMember("wide", {2, 0});
  PublishMember("narrow", {1, 1}, 2);
  PublishMember("turns", {0, 1}, 2, /*sequences=*/true);
  PublishChain("e_left", {"wide", "narrow", "turns"}, 1);
  PublishChain("e_right", {"turns", "narrow", "wide"}, 2);
  PublishChain("e_outer", {"e_left", "wide", "e_right", "e_left", "turns"}, 3);
  std::vector<std::thread> callers;
  for (int caller = 0; caller < kCallers; ++caller)
    callers.emplace_back([this, caller] { RunCaller(caller, kRequests); });
  // Members are replaced meanwhile: their claims come and go.
  for (int i = 0; i < 20; ++i) {
    PublishMember("wide", {2, 0});
    PublishMember("turns", {0, 1}, 2, /*sequences=*/true);
  }
  for (std::thread& caller : callers) caller.join();
  std::set<std::string> ids;
  std::size_t succeeded = 0;
  for (const auto& answer : sink_->Await(kCallers * kRequests)) {
    EXPECT_TRUE(ids.insert(answer.id).second) << "answered twice: " << answer.id;
    succeeded += answer.response.status.ok() ? 1 : 0;
    EXPECT_TRUE(answer.response.status.ok() ||
                answer.response.status.code() == StatusCode::kCancelled)
        << answer.response.status.message();
  }
  EXPECT_GT(succeeded, std::size_t{kCallers * kRequests / 2});
  EXPECT_TRUE(engine_->WaitIdle(-1));
}

// The last response may drop the last reference to the model, and the engine go, before the thread
// that sent it has given its resources back. (The address sanitizer sees it where it goes wrong.)
TEST_F(EnsembleRateLimitTest, ThreadThatOutlivesTheEngineGivesItsResourcesBack) {
  PublishMember("a", {1, 0});
  strings_->Hold();
  strings_->EndWith(Status::Internal("no output, so no other owner of the input"));
  std::vector<float> values(2);
  std::binary_semaphore answered{0};
  std::binary_semaphore engine_gone{0};
  {
    const RequestPtr request = MakeRequest("r", sink_);
    request->model_name = "a";
    // Let go of after the response, before the resources are given back.
    request->inputs[0].data =
        WrapHostBuffer(values.data(), values.size() * sizeof(float), [&answered, &engine_gone] {
          answered.release();
          engine_gone.acquire();
        });
    engine_->Submit(request);
  }
  strings_->AwaitStarted(1);
  (void)engine_->Publish("a", {});
  strings_->Release();
  answered.acquire();
  engine_.reset();
  engine_gone.release();
  while (strings_.use_count() != 1) std::this_thread::yield();  // until the instance is gone
  EXPECT_EQ(sink_->Await(1)[0].response.status.code(), StatusCode::kInternal);
}

// Each holds a place that the other one waits for, unless such a wait is refused.
TEST_F(EnsembleRateLimitTest, EnsemblesThatContainEachOtherFailInsteadOfWaitingForEachOthersRoom) {
  PublishMember("a", {1, 0}, 2);
  PublishChain("e_left", {"a", "e_right"}, 1);
  PublishChain("e_right", {"a", "e_left"}, 1);
  strings_->Hold();
  Submit("1", "e_left");
  strings_->AwaitStarted(1);
  Submit("2", "e_right");
  strings_->AwaitStarted(2);
  strings_->Release();
  for (const auto& answer : sink_->Await(2)) {
    EXPECT_EQ(answer.response.status.code(), StatusCode::kInvalidArgument);
    EXPECT_NE(answer.response.status.message().find("ensembles are steps of each other"),
              std::string::npos)
        << answer.response.status.message();
  }
  EXPECT_TRUE(engine_->WaitIdle(-1));
}

}  // namespace
}  // namespace fastserve
