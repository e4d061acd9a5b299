// A decoupled step in an ensemble: what becomes of its responses, in which order, and how it waits.
#include "scheduling/ensemble_stream.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "support/streaming_members.h"

namespace fastserve {
namespace {

using Floats = std::vector<float>;

class EnsembleStreamTest : public StreamingEnsembleTest {
 protected:
  // The chain in -> g -> c -> out, whose decoupled step has just got its request.
  RequestPtr StartChain() {
    Start({"g:X=in>Y=token", "c:X=token>Y=out"});
    parent_ = Enqueue();
    return member("g").Take();
  }
  RequestPtr parent_;
};

TEST_F(EnsembleStreamTest, EachResponseGoesThroughTheStepsBehindAndIsAResponse) {
  Start({"a:X=in>Y=tokens", "g:X=tokens>Y=token", "c:X=token>Y=out"});
  Enqueue(5);
  AnswerPlus(member("a").Take(), 1);
  const RequestPtr source = member("g").Take();
  EXPECT_EQ(FloatsOf(source->inputs.at(0)), (Floats{6}));
  SendValue(source, 10);
  AnswerPlus(member("c").Take(), 1);
  EXPECT_EQ(Values(), (Floats{11})) << "before the next one is there";
  SendValue(source, 20);
  AnswerPlus(member("c").Take(), 1);
  EXPECT_FALSE(Ended());
  SendEnd(source);
  EXPECT_EQ(Values(), (Floats{11, 21}));
  EXPECT_TRUE(EndedWell());
  EXPECT_EQ(answers().size(), 3U);
  EXPECT_EQ(answers()[0].response.model_name, "e");
  EXPECT_EQ(answers()[2].response.id, "r");
}

TEST_F(EnsembleStreamTest, PassesRunSideBySideAndAreAnsweredInOrder) {
  const RequestPtr source = StartChain();
  for (const float value : {1.0F, 2.0F, 3.0F}) SendValue(source, value);
  SendEnd(source);
  const std::vector<RequestPtr> passes = TakeAll("c");
  ASSERT_EQ(passes.size(), 3U);
  AnswerPlus(passes[2], 0);
  AnswerPlus(passes[1], 0);
  EXPECT_TRUE(answers().empty());
  AnswerPlus(passes[0], 0);
  EXPECT_EQ(Values(), (Floats{1, 2, 3}));
  EXPECT_TRUE(EndedWell());
}

TEST_F(EnsembleStreamTest, WithoutAResponseThereIsOnlyTheEnd) {
  SendEnd(StartChain());
  EXPECT_EQ(member("c").submitted(), 0U);
  EXPECT_EQ(answers().size(), 1U);
  EXPECT_TRUE(EndedWell());
}

TEST_F(EnsembleStreamTest, ResponseWithoutTensorsStartsNoPass) {
  const RequestPtr source = StartChain();
  source->Respond({}, /*final=*/false);
  EXPECT_EQ(member("c").submitted(), 0U);
  SendEnd(source);
  EXPECT_EQ(answers().size(), 1U);
  EXPECT_TRUE(EndedWell());
}

TEST_F(EnsembleStreamTest, FinalResponseWithTensorsIsAPassToo) {
  const RequestPtr source = StartChain();
  SendValue(source, 7, /*final=*/true);
  EXPECT_FALSE(Ended());
  AnswerPlus(member("c").Take(), 1);
  EXPECT_EQ(Values(), (Floats{8}));
  EXPECT_TRUE(EndedWell());
}

TEST_F(EnsembleStreamTest, DecoupledStepMayBeTheLast) {
  Start({"a:X=in>Y=tokens", "g:X=tokens>Y=out"});
  Enqueue();
  AnswerPlus(member("a").Take(), 0);
  const RequestPtr source = member("g").Take();
  const BufferView bytes = ViewOfFloats({3});
  InferResponse response;
  response.outputs.push_back({"Y", DataType::kFp32, MakeShape({1, 1}), bytes});
  source->Respond(std::move(response), /*final=*/false);
  ASSERT_EQ(answers().size(), 1U);
  EXPECT_EQ(answers()[0].response.outputs.at(0).data.data, bytes.data) << "no byte is copied";
  SendEnd(source);
  EXPECT_TRUE(EndedWell());
}

TEST_F(EnsembleStreamTest, PassesWaitForTheStepsBesideAndShareTheirTensors) {
  Start({"b:X=in>Y=style", "g:X=in>Y=token", "c:X=token,Z=style>Y=out"}, {"out", "style"});
  Enqueue();
  const RequestPtr source = member("g").Take();
  SendValue(source, 1);
  SendValue(source, 2);
  EXPECT_EQ(member("c").submitted(), 0U) << "c reads what b has not written";
  AnswerPlus(member("b").Take(), 30);
  SendValue(source, 3);
  SendEnd(source);
  const std::vector<RequestPtr> passes = TakeAll("c");
  ASSERT_EQ(passes.size(), 3U);
  for (const RequestPtr& pass : passes) {
    EXPECT_EQ(FloatsOf(pass->inputs.at(1)), (Floats{30}));
    EXPECT_EQ(pass->inputs[1].data.data, passes[0]->inputs[1].data.data);
    AnswerPlus(pass, 0);
  }
  EXPECT_EQ(Values(), (Floats{1, 2, 3}));
  EXPECT_EQ(FloatsOf(answers()[1].response.outputs.at(1)), (Floats{30})) << "in every response";
}

TEST_F(EnsembleStreamTest, DecoupledStepThatEndsBeforeTheStepsBesideIsWaitedFor) {
  Start({"b:X=in>Y=style", "g:X=in>Y=token", "c:X=token,Z=style>Y=out"});
  Enqueue();
  const RequestPtr source = member("g").Take();
  SendValue(source, 1);
  SendEnd(source);
  AnswerPlus(member("b").Take(), 0);
  EXPECT_FALSE(Ended());
  AnswerPlus(member("c").Take(), 0);
  EXPECT_EQ(Values(), (Floats{1}));
  EXPECT_TRUE(EndedWell());
}

TEST_F(EnsembleStreamTest, StepsThatAreNotBehindRunOnce) {
  Start({"a:X=in>Y=extra", "g:X=in>Y=token", "b:X=token>Y=mid", "c:X=mid,Z=extra>Y=out"});
  Enqueue();
  AnswerPlus(member("a").Take(), 1);
  const RequestPtr source = member("g").Take();
  for (const float value : {1.0F, 2.0F}) {
    SendValue(source, value);
    AnswerPlus(member("b").Take(), 10);
    AnswerPlus(member("c").Take(), 100);
  }
  SendEnd(source);
  EXPECT_EQ(Values(), (Floats{111, 112}));
  EXPECT_EQ(member("a").submitted(), 1U);
  EXPECT_EQ(member("g").submitted(), 1U);
}

TEST_F(EnsembleStreamTest, FailureInAPassComesAtItsPlace) {
  const RequestPtr source = StartChain();
  for (const float value : {1.0F, 2.0F, 3.0F}) SendValue(source, value);
  const RequestPtr first = member("c").Take();
  const RequestPtr second = member("c").Take();
  EXPECT_EQ(member("c").waiting(), 1U);
  second->Fail(Status::Internal("boom"), FailureReason::kBackend);
  EXPECT_EQ(member("c").waiting(), 0U) << "the pass behind it is cancelled";
  EXPECT_TRUE(source->cancelled());
  EXPECT_FALSE(first->cancelled());
  SendValue(source, 4);
  EXPECT_EQ(member("c").submitted(), 3U) << "no pass starts after it";
  AnswerPlus(first, 0);
  EXPECT_EQ(Values(), (Floats{1}));
  EXPECT_FALSE(Ended()) << "the decoupled step still runs";
  source->Fail(Status::Cancelled("gone"), FailureReason::kCanceled);
  EXPECT_EQ(Outcome().message(), "in ensemble 'e', boom");
  EXPECT_EQ(parent_->failure_reason, FailureReason::kBackend);
  EXPECT_EQ(answers().size(), 2U);
}

TEST_F(EnsembleStreamTest, FirstFailureInTheOrderOfTheResponsesIsTold) {
  const RequestPtr source = StartChain();
  SendValue(source, 1);
  SendValue(source, 2);
  const std::vector<RequestPtr> passes = TakeAll("c");
  passes[1]->Fail(Status::Internal("second"), FailureReason::kBackend);
  passes[0]->Fail(Status::Internal("first"), FailureReason::kBackend);
  SendEnd(source);
  EXPECT_EQ(Outcome().message(), "in ensemble 'e', first");
  EXPECT_EQ(answers().size(), 1U);
}

TEST_F(EnsembleStreamTest, DecoupledStepThatFailsDoesSoBehindItsResponses) {
  const RequestPtr source = StartChain();
  SendValue(source, 1);
  SendValue(source, 2);
  source->Fail(Status::Unavailable("worker died"), FailureReason::kBackend);
  const std::vector<RequestPtr> passes = TakeAll("c");
  ASSERT_EQ(passes.size(), 2U);
  EXPECT_FALSE(passes[0]->cancelled());
  EXPECT_FALSE(Ended());
  for (const RequestPtr& pass : passes) AnswerPlus(pass, 0);
  EXPECT_EQ(Values(), (Floats{1, 2}));
  EXPECT_EQ(Outcome().code(), StatusCode::kUnavailable);
  EXPECT_EQ(Outcome().message(), "in ensemble 'e', worker died");
}

TEST_F(EnsembleStreamTest, ResponsesMadeDuringSubmissionComeBeforeTheFailure) {
  member("g").AnswerAtOnce([](const RequestPtr& request) {
    SendValue(request, 1);
    request->Fail(Status::Internal("boom"), FailureReason::kBackend);
  });
  member("c").AnswerAtOnce([](const RequestPtr& request) { AnswerPlus(request, 0); });
  Start({"g:X=in>Y=token", "c:X=token>Y=out"});
  Enqueue();
  EXPECT_EQ(Values(), (Floats{1}));
  EXPECT_EQ(Outcome().message(), "in ensemble 'e', boom");
}

TEST_F(EnsembleStreamTest, ErrorResponseOfTheDecoupledStepEndsTheRequest) {
  const RequestPtr source = StartChain();
  SendValue(source, 1);
  InferResponse error;
  error.status = Status::Internal("no token");
  source->Respond(std::move(error), /*final=*/false);
  EXPECT_TRUE(source->cancelled());
  SendValue(source, 2);
  EXPECT_EQ(member("c").submitted(), 1U) << "what comes after it is not taken";
  AnswerPlus(member("c").Take(), 0);
  SendEnd(source);
  EXPECT_EQ(Values(), (Floats{1}));
  EXPECT_EQ(Outcome().message(), "in ensemble 'e', no token");
}

TEST_F(EnsembleStreamTest, FailureOfAStepBesideCancelsTheDecoupledOne) {
  Start({"b:X=in>Y=style", "g:X=in>Y=token", "c:X=token,Z=style>Y=out"});
  Enqueue();
  const RequestPtr source = member("g").Take();
  SendValue(source, 1);
  member("b").Take()->Fail(Status::Internal("boom"), FailureReason::kBackend);
  EXPECT_TRUE(source->cancelled());
  SendEnd(source);
  EXPECT_EQ(member("c").submitted(), 0U);
  EXPECT_EQ(answers().size(), 1U);
  EXPECT_EQ(Outcome().message(), "in ensemble 'e', boom");
}

TEST_F(EnsembleStreamTest, CancellingTheRequestCancelsTheDecoupledStepAndAllPasses) {
  const RequestPtr source = StartChain();
  SendValue(source, 1);
  AnswerPlus(member("c").Take(), 0);
  SendValue(source, 2);
  SendValue(source, 3);
  const RequestPtr running = member("c").Take();
  parent_->Cancel();
  EXPECT_TRUE(source->cancelled());
  EXPECT_TRUE(running->cancelled());
  EXPECT_EQ(member("c").waiting(), 0U);
  SendValue(source, 4);
  SendEnd(source);
  EXPECT_EQ(member("c").submitted(), 3U);
  EXPECT_FALSE(Ended()) << "a pass still runs";
  running->Fail(Status::Cancelled("late"), FailureReason::kCanceled);
  EXPECT_EQ(Values(), (Floats{1}));
  EXPECT_EQ(Outcome().code(), StatusCode::kCancelled);
  EXPECT_EQ(parent_->failure_reason, FailureReason::kCanceled);
}

TEST_F(EnsembleStreamTest, CancelledRequestHasNoFurtherResponse) {
  Start({"g:X=in>Y=out"});
  const RequestPtr request = Enqueue();
  const RequestPtr source = member("g").Take();
  SendValue(source, 1);
  request->Cancel();
  SendValue(source, 2);
  SendEnd(source);
  EXPECT_EQ(Values(), (Floats{1}));
  EXPECT_EQ(Outcome().code(), StatusCode::kCancelled);
}

TEST_F(EnsembleStreamTest, RequestCancelledAfterTheDecoupledStepEndedIsCancelled) {
  const RequestPtr source = StartChain();
  SendValue(source, 1);
  SendEnd(source);
  parent_->Cancel();
  EXPECT_EQ(Outcome().code(), StatusCode::kCancelled);
  EXPECT_EQ(answers().size(), 1U);
}

TEST_F(EnsembleStreamTest, DecoupledStepWaitsWhileAsManyPassesAreOnTheirWayAsAllowed) {
  max_inflight_ = 2;
  const RequestPtr source = StartChain();
  SendValue(source, 1);
  EXPECT_FALSE(source->congested());
  SendValue(source, 2);
  EXPECT_TRUE(source->congested());
  const auto room = std::make_shared<CountedRoom>();
  ASSERT_TRUE(source->WaitForRoom(room));
  const std::vector<RequestPtr> passes = TakeAll("c");
  AnswerPlus(passes[1], 0);
  EXPECT_EQ(room->count(), 0) << "its response waits for the first one's";
  AnswerPlus(passes[0], 0);
  EXPECT_EQ(room->count(), 1);
  EXPECT_FALSE(source->congested());
  SendEnd(source);
  EXPECT_TRUE(EndedWell());
}

TEST_F(EnsembleStreamTest, ResponsesThatWaitForAStepBesideCount) {
  max_inflight_ = 1;
  Start({"b:X=in>Y=style", "g:X=in>Y=token", "c:X=token,Z=style>Y=out"});
  Enqueue();
  const RequestPtr source = member("g").Take();
  EXPECT_FALSE(source->congested());
  SendValue(source, 1);
  EXPECT_TRUE(source->congested());
  AnswerPlus(member("b").Take(), 0);
  AnswerPlus(member("c").Take(), 0);
  EXPECT_FALSE(source->congested());
  SendEnd(source);
}

TEST_F(EnsembleStreamTest, SixtyFourPassesAreAllowedWhenNothingElseIsWritten) {
  const RequestPtr source = StartChain();
  for (int i = 0; i < 63; ++i) SendValue(source, 1);
  EXPECT_FALSE(source->congested());
  SendValue(source, 1);
  EXPECT_TRUE(source->congested());
  SendEnd(source);
  for (const RequestPtr& pass : TakeAll("c")) AnswerPlus(pass, 0);
  EXPECT_TRUE(EndedWell());
}

TEST_F(EnsembleStreamTest, SlowClientMakesTheDecoupledStepWait) {
  const RequestPtr source = StartChain();
  SendValue(source, 1);
  client_->full = true;
  AnswerPlus(member("c").Take(), 0);
  ASSERT_TRUE(source->congested());
  const auto room = std::make_shared<CountedRoom>();
  ASSERT_TRUE(source->WaitForRoom(room));
  client_->full = false;
  parent_->NotifyRoom();
  EXPECT_EQ(room->count(), 1);
  EXPECT_FALSE(source->congested());
  SendEnd(source);
  EXPECT_TRUE(EndedWell());
}

TEST_F(EnsembleStreamTest, ClientThatIsSlowBeforeTheFirstResponseIsNoticed) {
  const RequestPtr source = StartChain();
  client_->full = true;
  SendValue(source, 1);
  EXPECT_TRUE(source->congested());
  client_->full = false;
  parent_->NotifyRoom();
  EXPECT_FALSE(source->congested());
  AnswerPlus(member("c").Take(), 0);
  SendEnd(source);
}

TEST_F(EnsembleStreamTest, DecoupledStepGoesOnWhenBothTheClientAndThePassesHaveRoom) {
  max_inflight_ = 1;
  const RequestPtr source = StartChain();
  client_->full = true;
  SendValue(source, 1);
  const auto room = std::make_shared<CountedRoom>();
  ASSERT_TRUE(source->WaitForRoom(room));
  client_->full = false;
  parent_->NotifyRoom();
  EXPECT_EQ(room->count(), 0) << "a pass is on its way";
  AnswerPlus(member("c").Take(), 0);
  EXPECT_EQ(room->count(), 1);
  client_->full = true;
  SendValue(source, 2);
  ASSERT_TRUE(source->WaitForRoom(room));
  AnswerPlus(member("c").Take(), 0);
  EXPECT_EQ(room->count(), 1) << "the client has no room";
  client_->full = false;
  parent_->NotifyRoom();
  EXPECT_EQ(room->count(), 2);
  SendEnd(source);
}

TEST_F(EnsembleStreamTest, WaitingDecoupledStepIsToldOfTheCancellation) {
  const RequestPtr source = StartChain();
  client_->full = true;
  SendValue(source, 1);
  const auto room = std::make_shared<CountedRoom>();
  ASSERT_TRUE(source->WaitForRoom(room));
  parent_->Cancel();
  EXPECT_EQ(room->count(), 1);
  EXPECT_FALSE(source->congested());
  SendEnd(source);
  EXPECT_EQ(Outcome().code(), StatusCode::kCancelled);
}

// A step behind may need them: then neither would go on.
TEST_F(EnsembleStreamTest, DecoupledStepWithResourcesIsNotHeldForThePasses) {
  class Resources final : public ExecutionResources {
   public:
    bool any() const override { return held; }
    void Lend() override {}
    void TakeBack(std::function<void()> then) override { then(); }

    bool held = true;
  };
  max_inflight_ = 1;
  const RequestPtr source = StartChain();
  SendValue(source, 1);
  EXPECT_TRUE(source->congested());
  const auto resources = std::make_shared<Resources>();
  source->SetExecutionResources(resources);
  EXPECT_FALSE(source->congested());
  resources->held = false;
  EXPECT_TRUE(source->congested()) << "an execution that needs none, or has ended";
  resources->held = true;
  AnswerPlus(member("c").Take(), 0);
  EXPECT_EQ(parent_->execution_resources(), resources) << "for an ensemble around this one";
  client_->full = true;
  SendValue(source, 2);
  AnswerPlus(member("c").Take(), 0);
  SendValue(source, 3);
  EXPECT_TRUE(source->congested()) << "the client needs none of them";
  for (const RequestPtr& pass : TakeAll("c")) AnswerPlus(pass, 0);
  SendEnd(source);
  EXPECT_TRUE(EndedWell());
}

TEST_F(EnsembleStreamTest, EachPassHasTheWholeTimeoutOfTheRequest) {
  Start({"g:X=in>Y=token", "c:X=token>Y=out"});
  const RequestPtr request = Make();
  request->timeout_us = 1000;
  scheduler_->Enqueue(request, /*lend=*/false);
  const RequestPtr source = member("g").Take();
  EXPECT_EQ(source->timeout_us, 1000U);
  clock_.Advance(5'000'000);
  SendValue(source, 1);
  const RequestPtr pass = member("c").Take();
  EXPECT_EQ(pass->timeout_us, 1000U);
  AnswerPlus(pass, 0);
  SendEnd(source);
  EXPECT_TRUE(EndedWell());
}

TEST_F(EnsembleStreamTest, CancellingManyWaitingPassesDoesNotUseUpTheStack) {
  const RequestPtr source = StartChain();
  for (int i = 0; i < 20'000; ++i) SendValue(source, 1);
  parent_->Cancel();
  EXPECT_EQ(member("c").waiting(), 0U);
  SendEnd(source);
  EXPECT_EQ(Outcome().code(), StatusCode::kCancelled);
}

TEST_F(EnsembleStreamTest, TwoDecoupledStepsOneBehindTheOtherAreRefused) {
  Start({"g:X=in>Y=token", "h:X=token>Y=out"});
  Enqueue();
  const RequestPtr source = member("g").Take();
  SendValue(source, 1);
  EXPECT_EQ(member("h").submitted(), 0U);
  EXPECT_TRUE(source->cancelled());
  SendEnd(source);
  EXPECT_EQ(Outcome().code(), StatusCode::kUnsupported);
  EXPECT_EQ(
      Outcome().message(),
      "in ensemble 'e', step 1 (model 'g') and step 2 (model 'h') are both decoupled; only one "
      "step of a request may be");
}

TEST_F(EnsembleStreamTest, TwoDecoupledStepsSideBySideAreRefused) {
  Start({"g:X=in>Y=left", "h:X=in>Y=right"}, {"left", "right"});
  Enqueue();
  EXPECT_EQ(member("h").submitted(), 0U);
  EXPECT_EQ(member("g").cancelled(), 1U);
  EXPECT_EQ(answers().size(), 1U);
  EXPECT_EQ(Outcome().code(), StatusCode::kUnsupported);
}

TEST_F(EnsembleStreamTest, OneOfTwoDecoupledStepsMayBeAskedFor) {
  Start({"g:X=in>Y=left", "h:X=in>Y=right"}, {"left", "right"});
  const RequestPtr request = Make();
  request->outputs.push_back({"right"});
  scheduler_->Enqueue(request, /*lend=*/false);
  const RequestPtr source = member("h").Take();
  SendValue(source, 4);
  SendEnd(source);
  EXPECT_EQ(Values(), (Floats{4}));
  EXPECT_TRUE(EndedWell());
}

TEST_F(EnsembleStreamTest, WithoutItsDecoupledStepARequestHasOneResponse) {
  Start({"g:X=in>Y=left", "c:X=in>Y=right"}, {"left", "right"});
  const RequestPtr request = Make(1);
  request->outputs.push_back({"right"});
  scheduler_->Enqueue(request, /*lend=*/false);
  AnswerPlus(member("c").Take(), 1);
  EXPECT_EQ(member("g").submitted(), 0U);
  ASSERT_EQ(answers().size(), 1U);
  EXPECT_TRUE(Ended());
  EXPECT_FALSE(answers()[0].response.flags_only);
  EXPECT_EQ(FloatsOf(answers()[0].response.outputs.at(0)), (Floats{2}));
}

TEST_F(EnsembleStreamTest, SkippedDecoupledStepLeavesOneResponse) {
  Start({"a:X=in>Y=tokens", "g:X=tokens>Y=left", "c:X=in>Y=right"}, {"left", "right"});
  Enqueue(1);
  AnswerWith(member("a").Take(), {});
  AnswerPlus(member("c").Take(), 1);
  EXPECT_EQ(member("g").submitted(), 0U);
  ASSERT_EQ(answers().size(), 1U);
  EXPECT_TRUE(Ended());
  EXPECT_EQ(answers()[0].response.outputs.at(0).name, "right");
}

TEST_F(EnsembleStreamTest, EnsembleThatIsNotDecoupledIsToldWhatToWrite) {
  decoupled_ = false;
  const auto keep = *router_.Find("g", -1);
  router_.Remove("g");
  Start({"g:X=in>Y=token", "c:X=token>Y=out"});
  auto spec = std::make_shared<ModelSpec>(*keep->spec());
  router_.Add(spec);
  Enqueue();
  EXPECT_EQ(member("g").submitted(), 0U);
  EXPECT_EQ(Outcome().message(),
            "in ensemble 'e', step 1 (model 'g'): the model is decoupled and the ensemble is not; "
            "write model_transaction_policy { decoupled: true } in the ensemble's configuration");
  const auto again = EnsembleScheduler::Create({spec_, &clock_, &timer_, statistics_, &router_});
  EXPECT_NE(again.status().message().find("write model_transaction_policy"), std::string::npos);
}

TEST_F(EnsembleStreamTest, ComputeTimesOfAllPassesAndOfTheDecoupledStepAddUp) {
  const RequestPtr source = StartChain();
  source->timestamps.compute_start = clock_.NowNs();
  for (const float value : {1.0F, 2.0F}) {
    SendValue(source, value);
    const RequestPtr pass = member("c").Take();
    pass->timestamps.compute_start = 1'000;
    pass->timestamps.compute_input_end = 1'010;
    pass->timestamps.compute_output_start = 1'110;
    pass->timestamps.compute_end = 1'115;
    AnswerPlus(pass, 0);
  }
  clock_.Advance(5'000);
  SendEnd(source);
  const StatisticsSnapshot numbers = statistics_->Snapshot();
  EXPECT_EQ(numbers.execution_count, 1U);
  EXPECT_EQ(numbers.compute_input.ns, 20U);
  EXPECT_EQ(numbers.compute_infer.ns, 5'200U);
  EXPECT_EQ(numbers.compute_output.ns, 10U);
  EXPECT_EQ(numbers.success.count, 0U) << "the engine counts it with the end, as of any decoupled";
}

TEST_F(EnsembleStreamTest, PlaceOfTheEnsembleIsFreeAfterTheEnd) {
  max_inflight_ = 1;
  const RequestPtr source = StartChain();
  Enqueue();
  SendValue(source, 1);
  AnswerPlus(member("c").Take(), 0);
  EXPECT_EQ(scheduler_->pending_requests(), 1U) << "the request is still on its way";
  SendEnd(source);
  EXPECT_EQ(scheduler_->pending_requests(), 0U);
  SendEnd(member("g").Take());
}

}  // namespace
}  // namespace fastserve
