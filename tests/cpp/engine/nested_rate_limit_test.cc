// No deadlock between models that call models and the rate limiter. docs/rate_limiter.md has the
// argument.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/calling_backend.h"
#include "support/random.h"
#include "support/requests.h"
#include "support/scarce_resources.h"

namespace fastserve {
namespace {

class NestedRateLimitTest : public ::testing::Test {
 protected:
  void SetCalls(CallGraph graph) {
    engine_->RegisterBackend(
        std::make_unique<CallingBackend>(engine_->inference_host(), std::move(graph)));
  }
  // A model whose instances each need the given resources.
  void Publish(const std::string& name, Needs needs, int instances) {
    auto spec = std::make_shared<ModelSpec>(*MakeSpec("calling", 8));
    spec->name = name;
    spec->version = 1;
    spec->instance_groups.push_back(GroupThatNeeds(needs, name, instances));
    const auto model = engine_->LoadModel(spec);
    ASSERT_TRUE(model.ok()) << model.status().message();
    engine_->Publish(name, {*model});
  }
  RequestPtr Submit(const std::string& id, const std::string& model,
                    std::shared_ptr<ResponseSink> sink) {
    RequestPtr request = MakeRequest(id, std::move(sink));
    request->model_name = model;
    engine_->Submit(request, nullptr);
    return request;
  }

  std::unique_ptr<Engine> engine_ = EngineWithSlots(3);
};

TEST_F(NestedRateLimitTest, ACallGetsWhatItsCallerHolds) {
  SetCalls({{"a", "b"}});
  Publish("a", {2, 1}, 1);
  Publish("b", {3, 1}, 1);
  const auto gate = std::make_shared<AnswerGate>();
  Submit("1", "a", gate);
  const Status status = gate->Await();
  EXPECT_TRUE(status.ok()) << status.message();
}

// Each caller holds resources that the others' calls need, in chains of three.
TEST_F(NestedRateLimitTest, ManyCallersOfOneAnotherAllFinish) {
  SetCalls({{"outer", "middle"}, {"middle", "wide"}, {"left", "wide"}, {"right", "licensed"}});
  Publish("outer", {1, 0}, 3);
  Publish("middle", {1, 1}, 2);
  Publish("left", {2, 0}, 2);
  Publish("right", {1, 1}, 2);
  Publish("wide", {3, 0}, 2);
  Publish("licensed", {2, 1}, 1);
  const std::vector<std::string> models = {"outer", "middle", "left", "right", "wide", "licensed"};
  const auto run = [&](int caller) {
    RepeatableRandom random(static_cast<std::uint64_t>(caller));
    for (int i = 0; i < 100; ++i) {
      const auto gate = std::make_shared<AnswerGate>();
      const std::string& model = models[static_cast<std::size_t>(random.Below(std::ssize(models)))];
      const RequestPtr request =
          Submit(std::to_string(caller) + "." + std::to_string(i), model, gate);
      const bool cancelled = random.Below(5) == 0;
      if (cancelled) request->Cancel();
      const Status status = gate->Await();
      EXPECT_TRUE(status.ok() || (cancelled && status.code() == StatusCode::kCancelled))
          << model << ": " << status.message();
    }
  };
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 6; ++caller) callers.emplace_back(run, caller);
  for (std::thread& caller : callers) caller.join();
}

}  // namespace
}  // namespace fastserve
