#include "scheduling/dynamic_batcher.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <set>
#include <thread>

#include "base/clock.h"
#include "support/fake_clock.h"
#include "support/puppet_backend.h"
#include "support/requests.h"

namespace fastserve {
namespace {

class DynamicBatcherTest : public ::testing::Test {
 protected:
  DynamicBatcherTest() {
    clock_.AddListener([this] { timer_.Poke(); });
  }
  ~DynamicBatcherTest() override {
    strings_->Release();
    if (batcher_) batcher_->Stop();
  }

  void Start(int instances = 1, std::uint32_t hold_until_queued = 0) {
    DynamicBatcher::Options options;
    options.spec = spec_;
    options.clock = &clock_;
    options.timer = &timer_;
    options.statistics = statistics_;
    options.hold_until_queued = hold_until_queued;
    for (int i = 0; i < instances; ++i) {
      options.instances.push_back(std::make_unique<PuppetInstance>(strings_));
    }
    batcher_ = DynamicBatcher::Create(std::move(options)).value();
  }
  RequestPtr Enqueue(const std::string& id, float value = 0, int rows = 1, bool lend = false) {
    RequestPtr request = MakeRequest(id, sink_, value, rows);
    batcher_->Enqueue(request, lend);
    return request;
  }
  // Runs one request, so that the model's cost is measured (a fake clock's: cheap).
  void MeasureOnce() {
    Enqueue("measure");
    sink_->Await(1);
  }

  FakeClock clock_;
  DeadlineTimer timer_{clock_};
  std::shared_ptr<ModelSpec> spec_ = MakeSpec("puppet", 8);
  std::shared_ptr<ModelStatistics> statistics_ = std::make_shared<ModelStatistics>();
  std::shared_ptr<PuppetStrings> strings_ = std::make_shared<PuppetStrings>();
  std::shared_ptr<RecordingSink> sink_ = std::make_shared<RecordingSink>();
  std::shared_ptr<DynamicBatcher> batcher_;
};

TEST_F(DynamicBatcherTest, HistogramsCountWhatTheCountersCount) {
  Start();
  strings_->EndWith(Status::Internal("broken"));
  Enqueue("fails");
  sink_->Await(1);
  strings_->EndWith(Status::Ok());
  for (int i = 0; i < 2; ++i) Enqueue("succeeds");
  sink_->Await(3);
  batcher_->Stop();
  EXPECT_EQ(statistics_->Snapshot().success.count, 2U);
  const PhaseHistograms& histograms = statistics_->histograms();
  for (const LatencyHistogram* histogram :
       {&histograms.request, &histograms.queue, &histograms.compute_input,
        &histograms.compute_infer, &histograms.compute_output}) {
    EXPECT_EQ(histogram->count(), 2U);
  }
}

TEST_F(DynamicBatcherTest, RaggedRequestsOfAllPrioritiesShareABatchAndGetTheirOwnShapes) {
  spec_->inputs[0].allow_ragged_batch = true;
  spec_->batch_outputs = {{"X", "X"}};
  spec_->dynamic_batching.priority_levels = 2;
  spec_->dynamic_batching.default_priority_level = 2;
  Start(1, /*hold_until_queued=*/3);
  for (const int width : {3, 0, 5}) {
    RequestPtr request = MakeRequest(std::to_string(width), sink_, 1, 1, width);
    request->priority = width == 5 ? 1 : 2;
    batcher_->Enqueue(request, /*lend=*/false);
  }
  for (const auto& answer : sink_->Await(3)) {
    ASSERT_TRUE(answer.response.status.ok()) << answer.response.status.message();
    EXPECT_EQ(answer.response.outputs.at(0).shape, MakeShape({1, std::stoi(answer.id)}));
  }
  ASSERT_EQ(strings_->seen().size(), 1U);
  EXPECT_EQ(strings_->seen()[0].request_ids, (std::vector<std::string>{"5", "3", "0"}));
}

TEST_F(DynamicBatcherTest, AnswersWithTheRequestsOwnRows) {
  Start();
  Enqueue("a", 3.0F, 2);
  const auto answers = sink_->Await(1);
  EXPECT_TRUE(answers[0].response.status.ok());
  EXPECT_EQ(FloatsOf(answers[0].response.outputs[0]), (std::vector<float>{3, 3, 3, 3}));
  EXPECT_TRUE(answers[0].final);
}

TEST_F(DynamicBatcherTest, BatchesWhatArrivesWhileTheInstanceIsBusy) {
  Start();
  strings_->Hold();
  Enqueue("first");
  strings_->AwaitStarted(1);
  for (const char* id : {"a", "b", "c"}) Enqueue(id);
  strings_->Release();
  sink_->Await(4);
  const auto seen = strings_->seen();
  ASSERT_EQ(seen.size(), 2U);
  EXPECT_EQ(seen[1].request_ids, (std::vector<std::string>{"a", "b", "c"}));
}

TEST_F(DynamicBatcherTest, FullQueueRejectsWithoutBlocking) {
  spec_->dynamic_batching.default_queue_policy.max_queue_size = 2;
  Start();
  strings_->Hold();
  Enqueue("running");
  strings_->AwaitStarted(1);
  Enqueue("a");
  Enqueue("b");
  Enqueue("c");
  const auto answers = sink_->Await(1);
  EXPECT_EQ(answers[0].id, "c");
  EXPECT_EQ(answers[0].response.status.code(), StatusCode::kUnavailable);
  EXPECT_EQ(answers[0].response.status.message(), "Exceeds maximum queue size");
  strings_->Release();
  EXPECT_EQ(sink_->Await(4).size(), 4U);
}

TEST_F(DynamicBatcherTest, MoreRequestsThanTheIngressRingHoldsAreKept) {
  spec_->max_batch_size = 512;
  Start();
  strings_->Hold();
  Enqueue("running");
  strings_->AwaitStarted(1);
  for (int i = 0; i < 5000; ++i) Enqueue(std::to_string(i));
  EXPECT_EQ(batcher_->pending_requests(), 5000U);
  strings_->Release();
  sink_->Await(5001);
  int next = 0;
  for (const auto& seen : strings_->seen()) {
    for (const std::string& id : seen.request_ids) {
      if (id == "running") continue;
      EXPECT_EQ(id, std::to_string(next++));
    }
  }
}

TEST_F(DynamicBatcherTest, WaitsForTheQueueDelayAndNoLonger) {
  spec_->dynamic_batching.max_queue_delay_us = 100;
  Start();
  Enqueue("a");
  clock_.Advance(99 * kNsPerUs);
  Enqueue("b");
  EXPECT_EQ(sink_->count(), 0U);
  clock_.Advance(1 * kNsPerUs);
  sink_->Await(2);
  ASSERT_EQ(strings_->seen().size(), 1U);
  EXPECT_EQ(strings_->seen()[0].batch_size, 2);
}

TEST_F(DynamicBatcherTest, CancellingWhatStoodBetweenTwoEndsTheDelay) {
  spec_->dynamic_batching.preferred_batch_sizes = {2};
  spec_->dynamic_batching.max_queue_delay_us = 100;
  Start();
  Enqueue("a");
  const RequestPtr wide = Enqueue("wide", 0, 3);
  Enqueue("b");
  wide->Cancel();
  const auto answers = sink_->Await(3);  // the cancelled one first, second or last
  EXPECT_EQ(std::ranges::count_if(answers, [](const auto& a) { return a.response.status.ok(); }), 2)
      << "no time has passed";
}

TEST_F(DynamicBatcherTest, FullBatchEndsTheDelay) {
  spec_->dynamic_batching.max_queue_delay_us = 1'000'000;
  Start();
  for (int i = 0; i < 8; ++i) Enqueue(std::to_string(i));
  sink_->Await(8);
  EXPECT_EQ(strings_->seen().size(), 1U);
}

TEST_F(DynamicBatcherTest, QueueTimeoutRejectsWhileTheInstanceIsBusy) {
  spec_->dynamic_batching.default_queue_policy.default_timeout_us = 50;
  Start();
  strings_->Hold();
  Enqueue("running");
  strings_->AwaitStarted(1);
  Enqueue("late");
  clock_.Advance(50 * kNsPerUs);
  const auto answers = sink_->Await(1);
  EXPECT_EQ(answers[0].response.status.message(), "Request timeout expired");
  EXPECT_EQ(answers[0].response.status.code(), StatusCode::kUnavailable);
  EXPECT_EQ(batcher_->pending_requests(), 0U);
  strings_->Release();
  sink_->Await(2);
}

TEST_F(DynamicBatcherTest, CancelCompletesAWaitingRequestAtOnce) {
  Start();
  strings_->Hold();
  Enqueue("running");
  strings_->AwaitStarted(1);
  const RequestPtr waiting = Enqueue("waiting");
  waiting->Cancel();
  const auto answers = sink_->Await(1);
  EXPECT_EQ(answers[0].id, "waiting");
  EXPECT_EQ(answers[0].response.status.code(), StatusCode::kCancelled);
  EXPECT_EQ(batcher_->pending_requests(), 0U);
  strings_->Release();
  sink_->Await(2);
  EXPECT_EQ(strings_->seen().size(), 1U);
}

TEST_F(DynamicBatcherTest, RequestCancelledBeforeItWasQueuedIsNotExecuted) {
  Start();
  const RequestPtr request = MakeRequest("a", sink_);
  request->Cancel();
  batcher_->Enqueue(request, /*lend=*/false);
  EXPECT_EQ(sink_->Await(1)[0].response.status.code(), StatusCode::kCancelled);
  EXPECT_TRUE(strings_->seen().empty());
}

TEST_F(DynamicBatcherTest, BackendFailureFailsTheBatchAndTheNextOneRuns) {
  Start();
  strings_->EndWith(Status::Internal("boom"));
  Enqueue("a");
  EXPECT_EQ(sink_->Await(1)[0].response.status.message(), "boom");
  strings_->EndWith(Status::Ok());
  Enqueue("b");
  EXPECT_TRUE(sink_->Await(2)[1].response.status.ok());
}

TEST_F(DynamicBatcherTest, HoldsUntilEnoughRequestsAreQueuedOnce) {
  Start(1, /*hold_until_queued=*/3);
  Enqueue("a");
  Enqueue("b");
  EXPECT_FALSE(batcher_->RunLent());
  EXPECT_EQ(sink_->count(), 0U);
  Enqueue("c");
  sink_->Await(3);
  EXPECT_EQ(strings_->seen()[0].batch_size, 3);
  Enqueue("d");
  sink_->Await(4);
}

TEST_F(DynamicBatcherTest, CheapModelRunsOnTheLendingThread) {
  Start();
  EXPECT_FALSE(batcher_->lendable()) << "nothing is measured yet";
  MeasureOnce();
  ASSERT_TRUE(batcher_->lendable());
  // The worker that measured may still be giving its slot back: then it runs the request itself.
  bool ran = false;
  for (std::size_t sent = 1; !ran && sent < 20'000; sent += 2) {
    Enqueue("a", 0, 1, /*lend=*/true);
    Enqueue("b", 0, 1, /*lend=*/true);
    ran = batcher_->RunLent();
    if (!ran) sink_->Await(sent + 2);
  }
  ASSERT_TRUE(ran);
  EXPECT_EQ(batcher_->pending_requests(), 0U) << "answered before RunLent returned";
  EXPECT_EQ(strings_->seen().back().thread, std::this_thread::get_id());
}

TEST_F(DynamicBatcherTest, LenderLeavesWorkToTheWorkersWhenAllInstancesAreBusy) {
  Start();
  MeasureOnce();
  strings_->Hold();
  Enqueue("running");
  strings_->AwaitStarted(2);
  Enqueue("lent", 0, 1, /*lend=*/true);
  EXPECT_FALSE(batcher_->RunLent());
  strings_->Release();
  sink_->Await(3);
  EXPECT_NE(strings_->seen().back().thread, std::this_thread::get_id());
}

TEST_F(DynamicBatcherTest, StopFailsWhatIsStillQueued) {
  Start(1, /*hold_until_queued=*/10);
  Enqueue("a");
  batcher_->Stop();
  EXPECT_EQ(sink_->Await(1)[0].response.status.code(), StatusCode::kUnavailable);
}

TEST_F(DynamicBatcherTest, StatisticsAddUp) {
  Start();
  Enqueue("a", 0, 3);
  sink_->Await(1);
  strings_->EndWith(Status::Internal("boom"));
  Enqueue("b");
  sink_->Await(2);
  const StatisticsSnapshot numbers = statistics_->Snapshot();
  EXPECT_EQ(numbers.inference_count, 3U);
  EXPECT_EQ(numbers.execution_count, 2U);
  EXPECT_EQ(numbers.success.count, 1U);
  EXPECT_EQ(numbers.batches.at(3).compute_infer.count, 1U);
}

TEST_F(DynamicBatcherTest, TunedBatchesRunAtOnceWhileNothingIsKnown) {
  spec_->dynamic_batching.self_tuning = true;
  Start();
  strings_->Hold();
  Enqueue("first");
  strings_->AwaitStarted(1);
  for (int i = 0; i < 8; ++i) Enqueue(std::to_string(i));
  strings_->Release();
  sink_->Await(9);
  ASSERT_EQ(strings_->seen().size(), 2U);
  EXPECT_EQ(strings_->seen()[1].batch_size, 8);
}

TEST_F(DynamicBatcherTest, TunedBatchTakesARequestThatIsLargerThanTheLimit) {
  spec_->dynamic_batching.self_tuning = true;
  Start();
  for (std::size_t i = 1; i <= 20; ++i) {
    Enqueue("row", 0, 1);
    sink_->Await(i);
  }
  Enqueue("large", 0, 8);
  EXPECT_TRUE(sink_->Await(21)[20].response.status.ok());
  EXPECT_EQ(strings_->seen().back().batch_size, 8);
}

TEST_F(DynamicBatcherTest, ServesUrgentRequestsFirst) {
  spec_->dynamic_batching.priority_levels = 3;
  spec_->dynamic_batching.default_priority_level = 3;
  spec_->max_batch_size = 1;
  Start();
  strings_->Hold();
  Enqueue("running");
  strings_->AwaitStarted(1);
  for (const int priority : {3, 1, 0, 2}) {
    RequestPtr request = MakeRequest("p" + std::to_string(priority), sink_);
    request->priority = static_cast<std::uint64_t>(priority);
    batcher_->Enqueue(request, /*lend=*/false);
  }
  strings_->Release();
  sink_->Await(5);
  std::vector<std::string> order;
  for (const auto& seen : strings_->seen()) order.push_back(seen.request_ids[0]);
  EXPECT_EQ(order, (std::vector<std::string>{"running", "p1", "p2", "p3", "p0"}));
}

TEST_F(DynamicBatcherTest, EachPriorityLevelHasItsOwnQueueSize) {
  spec_->dynamic_batching.priority_levels = 2;
  spec_->dynamic_batching.default_priority_level = 2;
  spec_->dynamic_batching.priority_queue_policy[2].max_queue_size = 1;
  Start();
  strings_->Hold();
  Enqueue("running");
  strings_->AwaitStarted(1);
  Enqueue("low");
  Enqueue("too many");
  EXPECT_EQ(sink_->Await(1)[0].id, "too many");
  for (int i = 0; i < 10; ++i) {
    RequestPtr request = MakeRequest("high", sink_);
    request->priority = 1;
    batcher_->Enqueue(request, /*lend=*/false);
  }
  EXPECT_EQ(sink_->count(), 1U) << "the other level has no limit";
  strings_->Release();
  sink_->Await(13);
  Enqueue("low again");
  EXPECT_TRUE(sink_->Await(14)[13].response.status.ok()) << "its place is free again";
}

TEST_F(DynamicBatcherTest, PreservesTheOrderOfResponsesOverSeveralInstances) {
  constexpr int kRequests = 2000;
  spec_->dynamic_batching.preserve_ordering = true;
  spec_->max_batch_size = 2;
  Start(/*instances=*/4);
  for (int i = 0; i < kRequests; ++i) Enqueue(std::to_string(i));
  const auto answers = sink_->Await(kRequests);
  for (int i = 0; i < kRequests; ++i)
    ASSERT_EQ(answers[static_cast<std::size_t>(i)].id, std::to_string(i));
}

// Exactly once: many threads submit, cancel and lend; every request gets one answer, and its own
// rows or an error.
TEST_F(DynamicBatcherTest, EveryRequestCompletesExactlyOnceWhateverHappens) {
  constexpr int kThreads = 4;
  constexpr int kRequests = 2000;
  Start(/*instances=*/2);
  MeasureOnce();
  std::vector<std::thread> clients;
  for (int t = 0; t < kThreads; ++t) {
    clients.emplace_back([this, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      for (int i = 0; i < kRequests; ++i) {
        const bool lend = random() % 2 == 0;
        const int number = t * kRequests + i;
        const RequestPtr request =
            Enqueue(std::to_string(number), static_cast<float>(number), 1, lend);
        if (random() % 5 == 0) request->Cancel();
        if (lend) batcher_->RunLent();
      }
    });
  }
  for (std::thread& client : clients) client.join();
  const auto answers = sink_->Await(kThreads * kRequests + 1);
  std::set<std::string> ids;
  for (const auto& answer : answers) {
    EXPECT_TRUE(ids.insert(answer.id).second) << "answered twice: " << answer.id;
    if (answer.id == "measure" || !answer.response.status.ok()) continue;
    EXPECT_EQ(FloatsOf(answer.response.outputs[0])[0], std::stof(answer.id));
  }
  EXPECT_EQ(ids.size(), kThreads * kRequests + 1U);
  EXPECT_EQ(batcher_->pending_requests(), 0U);
}

}  // namespace
}  // namespace fastserve
