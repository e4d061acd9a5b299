// The dynamic batcher over instances that never block: whoever brings a request or a completion
// hands the batches on, and a request that a running one waits for is never put behind it.
#include <gmock/gmock.h>

#include "scheduling/dynamic_batcher.h"
#include "support/fake_clock.h"
#include "support/manual_backend.h"
#include "support/requests.h"

namespace fastserve {
namespace {

using ::testing::ElementsAre;

class AsynchronousInstance final : public BackendInstance {
 public:
  // What the test changes while the batcher owns the instance.
  struct Readiness {
    bool ready = true;
    std::function<void()> on_ready;
  };

  AsynchronousInstance(std::shared_ptr<ManualStrings> strings, std::shared_ptr<Readiness> readiness)
      : strings_(std::move(strings)), readiness_(std::move(readiness)) {}
  int depth() const override { return 2; }
  int quick_depth() const override { return 4; }
  bool never_blocks() const override { return true; }
  bool ready() const override { return readiness_->ready; }
  void set_on_ready(const std::function<void()>& on_ready) override {
    readiness_->on_ready = on_ready;
  }
  void Execute(Execution* execution, ExecutionObserver* observer) override {
    strings_->Begin(execution, observer);
  }

 private:
  const std::shared_ptr<ManualStrings> strings_;
  const std::shared_ptr<Readiness> readiness_;
};

class AsynchronousInstances : public ::testing::Test {
 protected:
  void Start(std::size_t instances, std::shared_ptr<const ModelSpec> spec = MakeSpec("manual", 0)) {
    DynamicBatcher::Options options;
    options.spec = std::move(spec);
    for (std::size_t i = 0; i < instances; ++i) {
      strings_.push_back(std::make_shared<ManualStrings>());
      readiness_.push_back(std::make_shared<AsynchronousInstance::Readiness>());
      options.instances.push_back(
          std::make_unique<AsynchronousInstance>(strings_[i], readiness_[i]));
    }
    options.clock = &clock_;
    options.timer = &timer_;
    options.statistics = std::make_shared<ModelStatistics>(StatisticsOptions{});
    batcher_ = DynamicBatcher::Create(std::move(options)).value();
  }
  void TearDown() override { batcher_->Stop(); }

  // On this thread, as an I/O thread does.
  void Submit(const std::string& id, RequestPtr caller = nullptr) {
    const RequestPtr request = MakeRequest(id, sink_);
    request->caller = std::move(caller);
    ASSERT_TRUE(batcher_->lendable());
    batcher_->Enqueue(request, /*lend=*/true);
    (void)batcher_->RunLent();
  }
  std::size_t Started(std::size_t instance) { return strings_[instance]->AwaitStarted(0); }

  FakeClock clock_;
  DeadlineTimer timer_{clock_};
  std::vector<std::shared_ptr<ManualStrings>> strings_;
  std::vector<std::shared_ptr<AsynchronousInstance::Readiness>> readiness_;
  std::shared_ptr<RecordingSink> sink_ = std::make_shared<RecordingSink>();
  std::shared_ptr<DynamicBatcher> batcher_;
};

TEST_F(AsynchronousInstances, TheThreadThatBringsARequestHandsItOn) {
  Start(1);
  Submit("a");
  EXPECT_EQ(Started(0), 1U);
  EXPECT_EQ(sink_->count(), 0U);
  strings_[0]->End();
  EXPECT_EQ(sink_->count(), 1U);
}

TEST_F(AsynchronousInstances, AnInstanceHasTwoBatchesAndTheCompletionOfOneBringsTheNext) {
  Start(1);
  for (const char* id : {"a", "b", "c"}) Submit(id);
  EXPECT_EQ(Started(0), 2U);
  strings_[0]->End();
  EXPECT_EQ(Started(0), 3U);
  EXPECT_THAT(strings_[0]->last_started(), ElementsAre("c"));
  strings_[0]->End();
  strings_[0]->End();
  EXPECT_EQ(sink_->count(), 3U);
}

TEST_F(AsynchronousInstances, OfQuickBatchesAnInstanceHasMore) {
  Start(1);
  Submit("first");
  strings_[0]->End();
  for (const char* id : {"a", "b", "c", "d", "e"}) Submit(id);
  EXPECT_EQ(Started(0), 1U + 4U);
  for (int i = 0; i < 5; ++i) strings_[0]->End();
  EXPECT_EQ(sink_->count(), 6U);
}

TEST_F(AsynchronousInstances, OfSlowBatchesItHasTwo) {
  Start(1);
  Submit("first");
  clock_.Advance(BackendInstance::kQuickNs);
  strings_[0]->End();
  for (const char* id : {"a", "b", "c"}) Submit(id);
  EXPECT_EQ(Started(0), 1U + 2U);
  for (int i = 0; i < 3; ++i) strings_[0]->End();
}

TEST_F(AsynchronousInstances, OneThatAnswersNothingForAWhileHasTwo) {
  Start(1);
  Submit("first");
  strings_[0]->End();
  Submit("long");
  clock_.Advance(BackendInstance::kQuickNs);
  for (const char* id : {"a", "b"}) Submit(id);
  EXPECT_EQ(Started(0), 1U + 2U);
  strings_[0]->End();
  EXPECT_EQ(Started(0), 1U + 3U);
  for (int i = 0; i < 2; ++i) strings_[0]->End();
}

TEST_F(AsynchronousInstances, TheInstanceWithTheLeastToDoHasTheNextQuickBatch) {
  Start(2);
  Submit("first");
  strings_[0]->AwaitStarted(0) == 1 ? strings_[0]->End() : strings_[1]->End();
  const std::size_t before[] = {Started(0), Started(1)};
  for (const char* id : {"a", "b", "c", "d", "e", "f"}) Submit(id);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(Started(i), before[i] + 3) << i;
    for (int j = 0; j < 3; ++j) strings_[i]->End();
  }
}

TEST_F(AsynchronousInstances, AnIdleInstanceComesBeforeASecondBatchForABusyOne) {
  Start(2);
  Submit("a");
  Submit("b");
  EXPECT_EQ(Started(0), 1U);
  EXPECT_EQ(Started(1), 1U);
  strings_[0]->End();
  strings_[1]->End();
}

TEST_F(AsynchronousInstances, WhatARunningRequestWaitsForIsNotPutBehindIt) {
  Start(1);
  const RequestPtr caller = MakeRequest("caller", sink_);
  batcher_->Enqueue(caller, /*lend=*/true);
  (void)batcher_->RunLent();
  Submit("nested", caller);
  EXPECT_EQ(Started(0), 1U);
  strings_[0]->End();
  EXPECT_EQ(Started(0), 2U);
  EXPECT_THAT(strings_[0]->last_started(), ElementsAre("nested"));
  strings_[0]->End();
}

// The running one may call that ensemble, and wait for a place in it.
TEST_F(AsynchronousInstances, NorIsAStepOfAnEnsembleThatHasPlaces) {
  Start(1);
  Submit("running");
  auto ensemble = std::make_shared<ModelSpec>();
  ensemble->ensemble.max_inflight_requests = 1;
  const RequestPtr step = MakeRequest("step", sink_);
  step->parent = MakeRequest("parent", sink_);
  step->parent->spec = ensemble;
  batcher_->Enqueue(step, /*lend=*/true);
  (void)batcher_->RunLent();
  EXPECT_EQ(Started(0), 1U);
  strings_[0]->End();
  EXPECT_EQ(Started(0), 2U);
  strings_[0]->End();
}

TEST_F(AsynchronousInstances, NorIsItPutThereInABatchThatBeginsWithAClientsRequest) {
  const auto spec = std::make_shared<ModelSpec>(*MakeSpec("manual", 8));
  spec->dynamic_batching.preferred_batch_sizes = {2};
  spec->dynamic_batching.max_queue_delay_us = 1'000'000;
  Start(1, spec);
  const RequestPtr caller = MakeRequest("caller", sink_);
  batcher_->Enqueue(caller, /*lend=*/true);
  Submit("with it");
  ASSERT_EQ(Started(0), 1U);
  Submit("client's");
  Submit("nested", caller);
  ASSERT_EQ(Started(0), 2U);
  EXPECT_THAT(strings_[0]->last_started(), ElementsAre("client's"));
  strings_[0]->End();
  strings_[0]->End();
}

TEST_F(AsynchronousInstances, OneThatIsNotReadyIsGivenNothingWhileAnotherOneIs) {
  Start(2);
  readiness_[0]->ready = readiness_[1]->ready = false;
  Submit("nobody is");
  const std::size_t dead = Started(0) == 1 ? 0 : 1;
  const std::size_t alive = 1 - dead;
  readiness_[alive]->ready = true;
  for (const char* id : {"a", "b", "waits"}) Submit(id);
  EXPECT_EQ(Started(dead), 1U);
  EXPECT_EQ(Started(alive), 2U);
  readiness_[dead]->ready = true;
  readiness_[dead]->on_ready();
  EXPECT_EQ(Started(dead), 2U) << "what waited goes to it at once";
  for (const std::size_t instance : {dead, dead, alive, alive}) strings_[instance]->End();
}

TEST_F(AsynchronousInstances, WhatWaitsWhenItStopsFails) {
  Start(1);
  for (const char* id : {"a", "b", "c"}) Submit(id);
  batcher_->Stop();
  EXPECT_EQ(sink_->Await(1).at(0).response.status.code(), StatusCode::kUnavailable);
  strings_[0]->End();
  strings_[0]->End();
  EXPECT_EQ(sink_->Await(3).size(), 3U);
}

}  // namespace
}  // namespace fastserve
