#include "scheduling/sequence_batcher_test.h"

#include <gmock/gmock.h>

#include <atomic>
#include <map>
#include <thread>

namespace fastserve {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(SequenceBatcherTest, RequestWithoutStartIsRefusedWithTritonsText) {
  Start();
  Send("a", 42);
  const Status status = StatusOf("a", 1);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(),
            "inference request for sequence 42 to model 'm' must specify the START flag on the "
            "first request of the sequence");
}

TEST_F(SequenceBatcherTest, EndWithoutStartIsRefused) {
  Start();
  batcher_->Enqueue(Make("a", "abc", Flags::kEnd), false);
  EXPECT_THAT(StatusOf("a", 1).message(), HasSubstr("for sequence abc to model 'm' must specify"));
}

TEST_F(SequenceBatcherTest, RequestWithoutCorrelationIdIsRefused) {
  Start();
  Send("zero", 0, Flags::kStart);
  batcher_->Enqueue(Make("empty", "", Flags::kStart), false);
  for (const char* name : {"zero", "empty"}) {
    EXPECT_EQ(StatusOf(name, 2).message(),
              "inference request to model 'm' must specify a non-zero or non-empty correlation ID");
  }
}

TEST_F(SequenceBatcherTest, LongIdsAndLargerBatchesAreRefused) {
  Start();
  batcher_->Enqueue(Make("long", std::string(129, 'x'), Flags::kStart), false);
  EXPECT_EQ(StatusOf("long", 1).message(), "sequence_id has 129 bytes, at most 128 are allowed");
  RequestPtr two = Make("two", 1U, Flags::kStart);
  two->batch_size = 2;
  batcher_->Enqueue(two, false);
  EXPECT_THAT(StatusOf("two", 2).message(), HasSubstr("must specify batch-size 1"));
}

TEST_F(SequenceBatcherTest, SequencesShareBatchesAndKeepTheirOrder) {
  Start();
  Occupy();
  for (std::uint64_t id : {1, 2, 3}) Send("first" + std::to_string(id), id, Flags::kStart);
  for (std::uint64_t id : {1, 2, 3}) Send("second" + std::to_string(id), id, Flags::kEnd);
  strings_->Release();
  sink_->Await(7);
  const auto seen = strings_->seen();
  ASSERT_EQ(seen.size(), 3U);
  // Slot 0 was the busy sequence's.
  EXPECT_THAT(seen[1].request_ids, ElementsAre("", "first1", "first2", "first3"));
  EXPECT_THAT(seen[2].request_ids, ElementsAre("", "second1", "second2", "second3"));
}

TEST_F(SequenceBatcherTest, DirectSequenceKeepsItsRowAndTheRowsBelowAreNotReady) {
  batching().controls.push_back({"ready", ControlKind::kReady, DataType::kInt32, 0, 1});
  Start();
  for (std::uint64_t id : {1, 2, 3}) Send(std::to_string(id), id, Flags::kStart, 7);
  sink_->Await(3);
  const std::size_t before = strings_->seen().size();
  Send("third", 3, Flags::kEnd, 9, 2);
  const auto seen = strings_->AwaitStarted(before + 1).back();
  EXPECT_THAT(seen.request_ids, ElementsAre("", "", "third"));
  EXPECT_THAT(FloatsOf(seen.input("X")), ElementsAre(0, 0, 0, 0, 9, 9));
  const Tensor& ready = seen.input("ready");
  EXPECT_EQ(ready.shape, MakeShape({3, 1}));
  std::int32_t values[3];
  std::memcpy(values, ready.data.data, sizeof(values));
  EXPECT_THAT(values, ElementsAre(0, 0, 1));
  EXPECT_EQ(ValueOf("third", 4), 9);
}

TEST_F(SequenceBatcherTest, RequestsOfOtherShapesRunInBatchesOfTheirOwn) {
  Start();
  Occupy();
  Send("narrow", 1, Flags::kBoth, 0, 1);
  Send("wide", 2, Flags::kBoth, 0, 5);
  strings_->Release();
  sink_->Await(3);
  EXPECT_EQ(strings_->seen().size(), 3U);
}

TEST_F(SequenceBatcherTest, SequencesBeyondTheSlotsWaitUntilOneEnds) {
  spec_->max_batch_size = 0;
  spec_->inputs[0].dims = spec_->outputs[0].dims = MakeShape({1, 1});
  Start();
  Send("a1", 1, Flags::kStart);
  sink_->Await(1);
  Send("b1", 2, Flags::kStart);
  Send("b2", 2, Flags::kEnd);
  EXPECT_EQ(batcher_->pending_requests(), 2U);
  Send("a2", 1, Flags::kEnd);
  const auto answers = sink_->Await(4);
  EXPECT_EQ(answers[1].id, "a2");
  EXPECT_EQ(answers[2].id, "b1");
  EXPECT_EQ(answers[3].id, "b2");
}

TEST_F(SequenceBatcherTest, IdleTimeGivesTheSlotToTheBacklogWithoutAnyRequest) {
  spec_->max_batch_size = 0;
  batching().max_sequence_idle_us = 500;
  Start();
  Send("a1", 1, Flags::kStart);
  sink_->Await(1);
  while (batcher_->pending_requests() != 0) std::this_thread::yield();
  Send("b1", 2, Flags::kStart);
  EXPECT_EQ(sink_->count(), 1U);
  // The sequence is given back a moment after its response was sent; its idle time starts then.
  while (sink_->count() < 2) {
    clock_.Advance(500 * kNsPerUs);
    std::this_thread::yield();
  }
  Send("a2", 1);
  EXPECT_THAT(StatusOf("a2", 3).message(), HasSubstr("must specify the START flag"));
}

TEST_F(SequenceBatcherTest, DirectWaitsForItsUtilizationButNoLongerThanTheDelay) {
  batching().minimum_slot_utilization = 0.75;
  batching().max_queue_delay_us = 100;
  Start();
  Send("a", 1, Flags::kStart);
  Send("b", 2, Flags::kStart);
  EXPECT_EQ(sink_->count(), 0U);
  Send("c", 3, Flags::kStart);
  sink_->Await(3);
  EXPECT_EQ(strings_->seen().size(), 1U);
  Send("d", 1);
  clock_.Advance(99 * kNsPerUs);
  EXPECT_EQ(sink_->count(), 3U);
  clock_.Advance(1 * kNsPerUs);
  sink_->Await(4);
}

TEST_F(SequenceBatcherTest, DirectWithoutUtilizationIgnoresTheDelay) {
  batching().max_queue_delay_us = 1'000'000'000;
  Start();
  Send("a", 1, Flags::kStart);
  sink_->Await(1);
}

TEST_F(SequenceBatcherTest, OldestRunsPreferredSizesAndWaitsForTheDelay) {
  batching().strategy = SequenceStrategy::kOldest;
  batching().preferred_batch_sizes = {2};
  batching().max_queue_delay_us = 100;
  Start(1, /*hold_until_queued=*/3);
  for (std::uint64_t id : {1, 2, 3}) Send(std::to_string(id), id, Flags::kStart);
  sink_->Await(2);
  EXPECT_THAT(strings_->seen()[0].request_ids, ElementsAre("1", "2"));
  EXPECT_EQ(sink_->count(), 2U);
  clock_.Advance(100 * kNsPerUs);
  sink_->Await(3);
  EXPECT_THAT(strings_->seen()[1].request_ids, ElementsAre("3"));
}

TEST_F(SequenceBatcherTest, OldestServesOnlySoManyCandidates) {
  batching().strategy = SequenceStrategy::kOldest;
  batching().max_candidate_sequences = 2;
  Start();
  for (std::uint64_t id : {1, 2, 3}) Send(std::to_string(id), id, Flags::kStart);
  sink_->Await(2);
  EXPECT_EQ(batcher_->pending_requests(), 1U);
  Send("end", 1, Flags::kEnd);
  EXPECT_EQ(sink_->Await(4)[3].id, "3");
}

TEST_F(SequenceBatcherTest, SequencesAreSpreadOverInstancesAndStayThere) {
  Start(2);
  std::map<std::string, std::size_t> first;
  for (std::uint64_t id : {1, 2}) Send(std::to_string(id), id, Flags::kStart);
  sink_->Await(2);
  for (int round = 0; round < 5; ++round) {
    for (std::uint64_t id : {1, 2}) Send(std::to_string(id), id);
  }
  sink_->Await(12);
  for (const auto& seen : strings_->seen()) {
    for (const std::string& name : seen.request_ids) {
      if (name.empty()) continue;
      EXPECT_EQ(first.emplace(name, seen.instance).first->second, seen.instance);
    }
  }
  EXPECT_NE(first["1"], first["2"]);
}

TEST_F(SequenceBatcherTest, InstancesThatShareAResourceTakeTurns) {
  InstanceGroupSpec group;
  group.resources = {{"r", false, 1}};
  for (int i = 0; i < 2; ++i) claims_.push_back(std::move(limiter_.Register(group).value()));
  Start(2);
  Occupy();
  for (int i = 0; i < 10; ++i) Send("other" + std::to_string(i), 2, Flags::kStart);
  EXPECT_EQ(strings_->seen().size(), 1U);
  strings_->Release();
  sink_->Await(11);
  EXPECT_EQ(strings_->seen().size(), 11U);
}

TEST_F(SequenceBatcherTest, TestAidsHoldUntilSlotsAndBacklogAreFull) {
  spec_->max_batch_size = 0;
  Start(1, /*hold_until_queued=*/1, /*hold_until_backlog=*/2);
  Send("a", 1, Flags::kBoth);
  Send("b", 2, Flags::kBoth);
  EXPECT_EQ(strings_->seen().size(), 0U);
  Send("c", 3, Flags::kBoth);
  sink_->Await(3);
  EXPECT_EQ(strings_->seen().size(), 3U);
}

TEST_F(SequenceBatcherTest, CancelledStartFailsItsFollowers) {
  Start();
  Occupy();
  const RequestPtr start = Send("start", 1, Flags::kStart);
  Send("follower", 1);
  start->Cancel();
  EXPECT_EQ(StatusOf("start", 2).code(), StatusCode::kCancelled);
  EXPECT_THAT(StatusOf("follower", 2).message(), HasSubstr("must specify the START flag"));
  strings_->Release();
}

TEST_F(SequenceBatcherTest, CancelledInTheBacklogIsAnsweredAtOnce) {
  spec_->max_batch_size = 0;
  Start();
  Send("owner", 1, Flags::kStart);
  sink_->Await(1);
  const RequestPtr waiting = Send("waiting", 2, Flags::kStart);
  waiting->Cancel();
  EXPECT_EQ(StatusOf("waiting", 2).code(), StatusCode::kCancelled);
  EXPECT_EQ(batcher_->pending_requests(), 0U);
}

TEST_F(SequenceBatcherTest, StatisticsCountRequestsAndNotEmptyRows) {
  Start();
  for (std::uint64_t id : {1, 2, 3}) Send(std::to_string(id), id, Flags::kStart);
  sink_->Await(3);
  const std::uint64_t executed = statistics_->Snapshot().execution_count;
  Send("last", 3);
  sink_->Await(4);
  const StatisticsSnapshot numbers = statistics_->Snapshot();
  EXPECT_EQ(numbers.execution_count, executed + 1);
  EXPECT_EQ(numbers.inference_count, 4U);
  EXPECT_EQ(numbers.success.count, 4U);
}

TEST_F(SequenceBatcherTest, StopFromAResponseIsSafe) {
  Start();
  class StoppingSink final : public ResponseSink {
   public:
    explicit StoppingSink(SequenceBatcher* batcher) : batcher_(batcher) {}
    void OnResponse(const RequestPtr&, InferResponse, bool) override {
      batcher_->Stop();
      done.store(true);
      done.notify_all();
    }
    std::atomic<bool> done{false};

   private:
    SequenceBatcher* batcher_;
  };
  auto sink = std::make_shared<StoppingSink>(batcher_.get());
  RequestPtr request = Make("last", 1U, Flags::kStart);
  request->sink = sink;
  batcher_->Enqueue(request, false);
  request = nullptr;  // its cancel hook holds the batcher
  sink->done.wait(false);
  Send("late", 1);
  EXPECT_EQ(StatusOf("late", 1).code(), StatusCode::kUnavailable);
  // The thread that was let go still uses the clock.
  while (batcher_.use_count() > 1) std::this_thread::yield();
}

}  // namespace
}  // namespace fastserve
