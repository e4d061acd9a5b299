// What the backend is given for a sequence, and what it keeps: control tensors, states,
// rescheduling.
#include <gmock/gmock.h>

#include "scheduling/sequence_batcher_test.h"

namespace fastserve {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class SequenceTensorsTest : public SequenceBatcherTest {
 protected:
  void MakeAccumulating() {
    MakeAccumulator(spec_.get());
    strings_->ComputeWith(&Accumulate);
  }
  // What the backend is given as the correlation id of a request.
  Tensor IdTensor(DataType type, SequenceId id) {
    batching().controls = {{"id", ControlKind::kCorrelationId, type}};
    Start();
    const std::size_t count = strings_->seen().size() + 1;
    batcher_->Enqueue(Make("r", std::move(id), Flags::kStart), false);
    Tensor tensor = strings_->AwaitStarted(count).back().input("id");
    batcher_->Stop();
    return tensor;
  }
};

TEST_F(SequenceTensorsTest, SequencesWithRaggedInputsShareBatchesUnderOldest) {
  batching().strategy = SequenceStrategy::kOldest;
  batching().max_candidate_sequences = 4;
  batching().controls = {{"id", ControlKind::kCorrelationId, DataType::kUint64}};
  spec_->inputs[0].allow_ragged_batch = true;
  spec_->batch_inputs = {{"ends", BatchInputKind::kAccumulatedElementCount, DataType::kInt32, "X"}};
  spec_->batch_outputs = {{"X", "X"}};
  Start(1, /*hold_until_queued=*/2);
  Send("a", 7, Flags::kStart, 1, /*width=*/3);
  Send("b", 8, Flags::kStart, 2, /*width=*/2);
  const auto seen = strings_->AwaitStarted(1);
  EXPECT_THAT(seen[0].request_ids, ElementsAre("a", "b"));
  EXPECT_EQ(seen[0].input("X").shape, MakeShape({5}));
  EXPECT_THAT(ValuesOf<std::int32_t>(seen[0].input("ends")), ElementsAre(3, 5));
  EXPECT_EQ(seen[0].input("id").shape, MakeShape({2, 1}));
  for (const auto& answer : sink_->Await(2)) {
    const bool is_a = answer.id == "a";
    ASSERT_TRUE(answer.response.status.ok()) << answer.response.status.message();
    EXPECT_EQ(answer.response.outputs.at(0).shape, MakeShape({1, is_a ? 3 : 2}));
    EXPECT_EQ(FloatsOf(answer.response.outputs[0]).front(), is_a ? 1 : 2);
  }
}

TEST_F(SequenceTensorsTest, SequencesWhoseNumbersTogetherExceedInt32RunApart) {
  batching().strategy = SequenceStrategy::kOldest;
  batching().max_candidate_sequences = 4;
  spec_->inputs[0].allow_ragged_batch = true;
  spec_->batch_inputs = {{"counts", BatchInputKind::kElementCount, DataType::kInt32, "X"}};
  Start(1, /*hold_until_queued=*/2);
  for (const std::uint64_t id : {7, 8}) {
    RequestPtr request = Make(std::to_string(id), id, Flags::kStart, 0, /*width=*/0);
    request->inputs[0].shape = MakeShape({1, INT32_MAX, 0});
    batcher_->Enqueue(request, /*lend=*/false);
  }
  const auto seen = strings_->AwaitStarted(2);
  EXPECT_THAT(seen[0].request_ids, ElementsAre("7"));
  EXPECT_THAT(seen[1].request_ids, ElementsAre("8"));
}

TEST_F(SequenceTensorsTest, ControlsSayWhatTheRequestSays) {
  batching().controls = {{"start", ControlKind::kStart, DataType::kInt32, -1, 5},
                         {"ready", ControlKind::kReady, DataType::kBool, 0, 1},
                         {"end", ControlKind::kEnd, DataType::kFp32, 0.5, 1.5},
                         {"id", ControlKind::kCorrelationId, DataType::kUint64}};
  Start();
  Send("a", 77, Flags::kStart);
  Send("b", 77, Flags::kEnd);
  const auto seen = strings_->AwaitStarted(2);
  EXPECT_THAT(ValuesOf<std::int32_t>(seen[0].input("start")), ElementsAre(5));
  EXPECT_THAT(ValuesOf<std::int32_t>(seen[1].input("start")), ElementsAre(-1));
  EXPECT_THAT(ValuesOf<std::uint8_t>(seen[0].input("ready")), ElementsAre(1));
  EXPECT_THAT(ValuesOf<float>(seen[0].input("end")), ElementsAre(0.5F));
  EXPECT_THAT(ValuesOf<float>(seen[1].input("end")), ElementsAre(1.5F));
  EXPECT_THAT(ValuesOf<std::uint64_t>(seen[1].input("id")), ElementsAre(77U));
  EXPECT_EQ(seen[0].input("start").shape, MakeShape({1, 1}));
}

TEST_F(SequenceTensorsTest, StateThatIsTooLargeForABatchIsRefused) {
  MakeAccumulating();
  for (const Shape& dims : {MakeShape({INT32_MAX / 4 + 1}), MakeShape({INT64_MAX, INT64_MAX})}) {
    batching().states[0].initial_dims = dims;
    const auto states = SequenceStates::Create(spec_);
    EXPECT_EQ(states.status().code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(states.status().message(), HasSubstr("is too large for batches of 4 rows"));
  }
}

TEST_F(SequenceTensorsTest, CorrelationIdComesInEveryDataType) {
  for (const DataType type : {DataType::kUint32, DataType::kInt32}) {
    const Tensor id = IdTensor(type, std::uint64_t{2147483647});
    EXPECT_THAT(ValuesOf<std::uint32_t>(id), ElementsAre(2147483647U));
  }
  const std::uint64_t large = std::uint64_t{1} << 62;
  EXPECT_THAT(ValuesOf<std::uint64_t>(IdTensor(DataType::kInt64, large)), ElementsAre(large));
  EXPECT_THAT(ValuesOf<std::uint64_t>(IdTensor(DataType::kUint64, 4 * large - 1)),
              ElementsAre(4 * large - 1));
  const Tensor text = IdTensor(DataType::kBytes, "four");
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(text.data.data), text.data.size),
            std::string("\4\0\0\0four", 8));
}

TEST_F(SequenceTensorsTest, CorrelationIdThatDoesNotFitItsControlIsRefused) {
  batching().controls = {{"id", ControlKind::kCorrelationId, DataType::kInt32}};
  Start();
  Send("large", 2147483648U, Flags::kStart);
  EXPECT_EQ(StatusOf("large", 1).message(),
            "sequence_id 2147483648 is too large: control input 'id' of model 'm' has data type "
            "INT32, which holds at most 2147483647");
  batcher_->Enqueue(Make("text", "x", Flags::kStart), false);
  EXPECT_EQ(StatusOf("text", 2).message(),
            "sequence_id is a string but control input 'id' of model 'm' has data type INT32; send "
            "a number");
  batcher_->Stop();
  batching().controls[0].type = DataType::kBytes;
  Start();
  Send("number", 5, Flags::kStart);
  EXPECT_THAT(StatusOf("number", 3).message(), HasSubstr("has data type BYTES; send a string"));
}

TEST_F(SequenceTensorsTest, ModelThatDoesNotBatchGetsControlsOfOneElement) {
  spec_->max_batch_size = 0;
  batching().controls = {{"start", ControlKind::kStart, DataType::kInt32, 0, 1}};
  Start();
  Send("a", 1, Flags::kStart);
  EXPECT_EQ(strings_->AwaitStarted(1)[0].input("start").shape, MakeShape({1}));
}

TEST_F(SequenceTensorsTest, StateGoesFromOneRequestToTheNextAndIsNotAnswered) {
  MakeAccumulating();
  Start();
  Send("a", 1, Flags::kStart, 1);
  Send("b", 1, Flags::kNone, 10);
  Send("c", 1, Flags::kEnd, 100);
  const auto answers = sink_->Await(3);
  EXPECT_EQ(ValueOf("a", 3), 1);
  EXPECT_EQ(ValueOf("b", 3), 11);
  EXPECT_EQ(ValueOf("c", 3), 111);
  for (const auto& answer : answers) EXPECT_EQ(answer.response.outputs.size(), 1U);
}

TEST_F(SequenceTensorsTest, EachRowOfABatchHasItsOwnState) {
  MakeAccumulating();
  Start(1, /*hold_until_queued=*/6);
  for (std::uint64_t id : {1, 2, 3})
    Send("s" + std::to_string(id), id, Flags::kStart, static_cast<float>(id));
  for (std::uint64_t id : {1, 2, 3})
    Send("t" + std::to_string(id), id, Flags::kNone, static_cast<float>(10 * id));
  sink_->Await(6);
  EXPECT_EQ(strings_->seen().size(), 2U);
  EXPECT_EQ(ValueOf("t1", 6), 11);
  EXPECT_EQ(ValueOf("t2", 6), 22);
  EXPECT_EQ(ValueOf("t3", 6), 33);
  // With a row missing, the states are gathered anew.
  Send("u1", 1, Flags::kNone, 100);
  Send("u3", 3, Flags::kNone, 100);
  EXPECT_EQ(ValueOf("u3", 8), 133);
  EXPECT_EQ(ValueOf("u1", 8), 111);
}

TEST_F(SequenceTensorsTest, SameRowsInTheSameOrderCopyNoState) {
  MakeAccumulating();
  std::vector<const std::byte*> made;
  strings_->ComputeWith([&made](Execution* execution) {
    const Status status = Accumulate(execution);
    made.push_back(execution->outputs.back().data.data);
    return status;
  });
  Start(1, /*hold_until_queued=*/4);
  for (const Flags flags : {Flags::kStart, Flags::kNone}) {
    for (std::uint64_t id : {1, 2}) Send("r", id, flags);
  }
  sink_->Await(4);
  const Tensor state = strings_->seen()[1].input("in");
  EXPECT_EQ(state.shape, MakeShape({2, 1}));
  EXPECT_EQ(state.data.data, made[0]);
}

TEST_F(SequenceTensorsTest, RestartBeginsWithTheInitialState) {
  const float initial[] = {0.5F};
  MakeAccumulating();
  batching().states[0].initial_data.assign(reinterpret_cast<const char*>(initial), 4);
  Start();
  Send("a", 1, Flags::kStart, 1);
  Send("b", 1, Flags::kStart, 2);
  EXPECT_EQ(ValueOf("a", 2), 1.5F);
  EXPECT_EQ(ValueOf("b", 2), 2.5F);
}

TEST_F(SequenceTensorsTest, StateThatIsAlsoAnOutputIsAnswered) {
  MakeAccumulating();
  TensorSpec shown = spec_->outputs[0];
  shown.name = "out";
  spec_->outputs.push_back(shown);
  Start();
  Send("a", 1, Flags::kStart, 3);
  EXPECT_EQ(sink_->Await(1)[0].response.outputs.size(), 2U);
  RequestPtr request = Make("b", 1U, Flags::kNone, 4);
  request->outputs.push_back({"X", 0, false});
  batcher_->Enqueue(request, false);
  EXPECT_EQ(ValueOf("b", 2), 7);
  EXPECT_EQ(sink_->Await(2)[1].response.outputs.size(), 1U);
}

TEST_F(SequenceTensorsTest, FailedRequestLeavesTheStateAlone) {
  MakeAccumulating();
  Start();
  Send("a", 1, Flags::kStart, 1);
  sink_->Await(1);
  strings_->ComputeWith([](Execution*) { return Status::Internal("broken"); });
  Send("b", 1, Flags::kNone, 10);
  EXPECT_EQ(StatusOf("b", 2).message(), "broken");
  strings_->ComputeWith(&Accumulate);
  Send("c", 1, Flags::kNone, 100);
  EXPECT_EQ(ValueOf("c", 3), 101);
}

TEST_F(SequenceTensorsTest, BackendThatForgetsAStateFailsTheRequest) {
  MakeAccumulating();
  strings_->ComputeWith([](Execution* execution) {
    execution->outputs.push_back(execution->inputs.front());
    return Status::Ok();
  });
  Start();
  Send("a", 1, Flags::kStart);
  EXPECT_THAT(StatusOf("a", 1).message(), HasSubstr("did not return the state 'out'"));
}

class StateOfAnotherTypeTest : public SequenceTensorsTest,
                               public ::testing::WithParamInterface<int> {};

TEST_P(StateOfAnotherTypeTest, IsRefusedAndTheStateStaysAsItWas) {
  spec_ = MakeSequenceSpec(GetParam());
  MakeAccumulating();
  strings_->ComputeWith([](Execution* execution) {
    const Status status = Accumulate(execution);
    Tensor& state = execution->outputs.back();
    state.type = DataType::kFp64;
    state.data = ViewOfFloats({0, 0});
    return status;
  });
  Start();
  Send("a", 1, Flags::kStart, 1);
  EXPECT_EQ(StatusOf("a", 1).code(), StatusCode::kInternal);
  EXPECT_THAT(StatusOf("a", 1).message(), HasSubstr("state 'out' as FP64, expected FP32"));
  strings_->ComputeWith(&Accumulate);
  Send("b", 1, Flags::kNone, 10);
  EXPECT_EQ(strings_->AwaitStarted(2)[1].input("in").type, DataType::kFp32);
  EXPECT_EQ(ValueOf("b", 2), 10);
}

INSTANTIATE_TEST_SUITE_P(MaxBatchSize, StateOfAnotherTypeTest, ::testing::Values(0, 4));

TEST_F(SequenceTensorsTest, StatesOfDifferentShapesDoNotShareABatch) {
  MakeAccumulating();
  batching().states[0].dims = MakeShape({-1});
  // The state grows by one element per request.
  strings_->ComputeWith([](Execution* execution) {
    const Tensor& state = execution->inputs.back();
    Shape grown = state.shape;
    ++grown[1];
    const auto size = static_cast<std::size_t>(grown[0] * grown[1]);
    execution->outputs.push_back(execution->inputs.front());
    execution->outputs.push_back(
        {"out", DataType::kFp32, grown, ViewOfFloats(std::vector<float>(size))});
    return Status::Ok();
  });
  Start();
  Send("a", 1, Flags::kStart);
  sink_->Await(1);
  Occupy();
  Send("b", 1);
  Send("c", 2, Flags::kStart);
  strings_->Release();
  sink_->Await(4);
  const auto seen = strings_->seen();
  ASSERT_EQ(seen.size(), 4U);
  EXPECT_EQ(seen[2].input("in").shape, MakeShape({1, 2}));
  EXPECT_EQ(seen[3].input("in").shape.back(), 1);
}

class IterativeTest : public SequenceTensorsTest {
 protected:
  IterativeTest() {
    batching().iterative = true;
    MakeAccumulating();
    // Each request runs until its sum is at least 3.
    strings_->ComputeWith([](Execution* execution) {
      const Status status = Accumulate(execution);
      for (const float sum : FloatsOf(execution->outputs[0]))
        execution->rescheduled.push_back(sum < 3);
      return status;
    });
    batching().controls = {{"start", ControlKind::kStart, DataType::kInt32, 0, 1}};
  }
};

TEST_F(IterativeTest, RescheduledRequestRunsAgainUntilItIsDone) {
  Start();
  Send("a", 1, Flags::kStart, 1);
  EXPECT_EQ(ValueOf("a", 1), 3);
  const auto seen = strings_->seen();
  ASSERT_EQ(seen.size(), 3U);
  EXPECT_THAT(ValuesOf<std::int32_t>(seen[0].input("start")), ElementsAre(1));
  EXPECT_THAT(ValuesOf<std::int32_t>(seen[1].input("start")), ElementsAre(0));
  EXPECT_EQ(statistics_->Snapshot().success.count, 1U);
}

TEST_F(IterativeTest, RescheduledRequestRunsBeforeTheNextOfItsSequence) {
  Start();
  Occupy(/*value=*/3);
  Send("a", 1, Flags::kStart, 1);
  Send("b", 1, Flags::kEnd, 5);
  strings_->Release();
  EXPECT_EQ(ValueOf("b", 3), 8);
}

TEST_F(IterativeTest, RequestWithoutIdIsASequenceOfItsOwn) {
  Start();
  for (int i = 0; i < 10; ++i) Send(std::to_string(i), 0, Flags::kNone, 2);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(ValueOf(std::to_string(i), 10), 4);
}

TEST_F(IterativeTest, CancelledWhileItRunsIsNotRunAgain) {
  Start();
  strings_->Hold();
  const RequestPtr request = Send("a", 1, Flags::kStart, 1);
  strings_->AwaitStarted(1);
  request->Cancel();
  strings_->Release();
  EXPECT_EQ(StatusOf("a", 1).code(), StatusCode::kCancelled);
  EXPECT_EQ(strings_->seen().size(), 1U);
}

TEST_F(IterativeTest, StopFailsWhatWouldRunAgain) {
  strings_->ComputeWith([](Execution* execution) {
    const Status status = Accumulate(execution);
    execution->rescheduled.assign(execution->requests.size(), true);
    return status;
  });
  Start();
  Send("endless", 1, Flags::kStart, 1);
  strings_->AwaitStarted(3);
  batcher_->Stop();
  EXPECT_EQ(StatusOf("endless", 1).code(), StatusCode::kUnavailable);
}

TEST_F(SequenceTensorsTest, ReschedulingNeedsAnIterativeModel) {
  strings_->ComputeWith([](Execution* execution) {
    execution->outputs.push_back(execution->inputs.front());
    execution->rescheduled.assign(1, true);
    return Status::Ok();
  });
  Start();
  Send("a", 1, Flags::kStart);
  EXPECT_THAT(StatusOf("a", 1).message(), HasSubstr("does not say iterative_sequence: true"));
}

}  // namespace
}  // namespace fastserve
