#include "scheduling/ensemble_scheduler.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "support/fake_clock.h"
#include "support/scripted_members.h"

namespace fastserve {
namespace {

using Floats = std::vector<float>;

class EnsembleSchedulerTest : public ::testing::Test {
 protected:
  EnsembleSchedulerTest() {
    clock_.AddListener([this] { timer_.Poke(); });
    for (const char* name : {"a", "b", "c", "d"}) {
      specs_[name] = MakeMemberSpec(name, {"X"}, {"Y"});
      router_.Add(specs_[name]);
      spec(name).inputs.push_back(MakeTensorSpec("Z"));
      spec(name).inputs.back().optional = true;
    }
  }
  ~EnsembleSchedulerTest() override {
    if (scheduler_) scheduler_->Stop();
  }

  ModelSpec& spec(const std::string& name) { return *specs_.at(name); }
  ScriptedMember& member(const std::string& name) {
    return static_cast<ScriptedMember&>(**router_.Find(name, -1));
  }
  void Start(const std::vector<std::string>& steps,
             const std::vector<std::string>& outputs = {"out"},
             const std::vector<std::string>& inputs = {"in"}) {
    spec_ = MakeEnsembleSpec(inputs, outputs, steps);
    spec_->ensemble.max_inflight_requests = max_inflight_;
    Restart();
  }
  void Restart() {
    auto scheduler = EnsembleScheduler::Create({spec_, &clock_, &timer_, statistics_, &router_});
    ASSERT_TRUE(scheduler.ok()) << scheduler.status().message();
    scheduler_ = *scheduler;
  }
  RequestPtr Make(const std::string& id, float value = 0) {
    RequestPtr request = MakeRequest(id, sink_, value);
    request->spec = spec_;
    request->model_name = "e";
    request->inputs[0].name = "in";
    return request;
  }
  RequestPtr Enqueue(const std::string& id, float value = 0) {
    RequestPtr request = Make(id, value);
    scheduler_->Enqueue(request, /*lend=*/false);
    return request;
  }
  // The member's oldest request is answered with its input plus `added`.
  void Answer(const std::string& name, float added) {
    const RequestPtr request = member(name).Take();
    ASSERT_NE(request, nullptr) << name << " has no request";
    AnswerPlus(request, added);
  }
  std::vector<RecordingSink::Answer> answers() { return sink_->Await(0); }
  Status Outcome(std::size_t index) { return answers().at(index).response.status; }
  Floats Output(std::size_t answer, std::size_t output = 0) {
    return FloatsOf(answers().at(answer).response.outputs.at(output));
  }

  FakeClock clock_;
  DeadlineTimer timer_{clock_};
  ScriptedRouter router_;
  std::map<std::string, std::shared_ptr<ModelSpec>> specs_;
  std::shared_ptr<ModelStatistics> statistics_ = std::make_shared<ModelStatistics>();
  std::shared_ptr<RecordingSink> sink_ = std::make_shared<RecordingSink>();
  std::shared_ptr<ModelSpec> spec_;
  std::uint32_t max_inflight_ = 0;
  std::shared_ptr<EnsembleScheduler> scheduler_;
};

TEST_F(EnsembleSchedulerTest, ChainHandsEachStepsOutputToTheNext) {
  Start({"a:X=in>Y=one", "b:X=one>Y=two", "c:X=two>Y=out"});
  Enqueue("r", 5);
  EXPECT_EQ(member("b").submitted(), 0U);
  Answer("a", 1);
  Answer("b", 10);
  EXPECT_TRUE(answers().empty());
  Answer("c", 100);
  ASSERT_EQ(answers().size(), 1U);
  EXPECT_EQ(Output(0), (Floats{116, 116}));
  const InferResponse response = answers()[0].response;
  EXPECT_EQ(response.model_name, "e");
  EXPECT_EQ(response.id, "r");
  EXPECT_EQ(response.outputs[0].name, "out");
}

TEST_F(EnsembleSchedulerTest, TensorsPassByReference) {
  Start({"a:X=in>Y=one", "b:X=one>Y=out"});
  const RequestPtr request = Enqueue("r", 5);
  const RequestPtr first = member("a").Take();
  EXPECT_EQ(first->inputs[0].data.data, request->inputs[0].data.data);
  const Floats made{1, 2};
  AnswerWith(first, {{"Y", made}});
  const RequestPtr second = member("b").Take();
  const std::byte* passed = second->inputs[0].data.data;
  InferResponse response;
  response.outputs = second->inputs;
  response.outputs[0].name = "Y";
  second->Respond(std::move(response), true);
  EXPECT_EQ(answers()[0].response.outputs[0].data.data, passed);
}

TEST_F(EnsembleSchedulerTest, BranchesRunSideBySideAndTheJoinWaitsForBoth) {
  Start({"a:X=in>Y=one", "b:X=one>Y=left", "c:X=one>Y=right", "d:X=left,Z=right>Y=out"});
  Enqueue("r");
  Answer("a", 1);
  EXPECT_EQ(member("b").waiting(), 1U);
  EXPECT_EQ(member("c").waiting(), 1U);
  Answer("c", 1);
  EXPECT_EQ(member("d").waiting(), 0U);
  Answer("b", 1);
  EXPECT_EQ(member("d").waiting(), 1U);
  Answer("d", 1);
  EXPECT_EQ(Output(0), (Floats{3, 3}));
}

TEST_F(EnsembleSchedulerTest, MembersAreAskedForTheMappedOutputsOnly) {
  spec("a").outputs.push_back(MakeTensorSpec("W"));
  Start({"a:X=in>Y=out"});
  Enqueue("r");
  const RequestPtr step = member("a").Take();
  ASSERT_EQ(step->outputs.size(), 1U);
  EXPECT_EQ(step->outputs[0].name, "Y");
  AnswerPlus(step, 0);
}

TEST_F(EnsembleSchedulerTest, StepsThatLeadToNoAskedOutputDoNotRun) {
  Start({"a:X=in>Y=one", "b:X=one>Y=left", "c:X=one>Y=right"}, {"left", "right"});
  const RequestPtr request = Make("r");
  request->outputs.push_back({"right"});
  scheduler_->Enqueue(request, false);
  Answer("a", 1);
  EXPECT_EQ(member("b").submitted(), 0U);
  Answer("c", 1);
  ASSERT_EQ(answers().size(), 1U);
  ASSERT_EQ(answers()[0].response.outputs.size(), 1U);
  EXPECT_EQ(answers()[0].response.outputs[0].name, "right");
}

TEST_F(EnsembleSchedulerTest, SequencePriorityIdAndParametersPassToEveryStep) {
  Start({"a:X=in>Y=out"});
  const RequestPtr request = Make("r");
  request->sequence_id = std::string("talk");
  request->sequence_start = true;
  request->sequence_end = true;
  request->priority = 2;
  request->parameters["mode"] = true;
  scheduler_->Enqueue(request, false);
  const RequestPtr step = member("a").Take();
  EXPECT_EQ(std::get<std::string>(step->sequence_id), "talk");
  EXPECT_TRUE(step->sequence_start);
  EXPECT_TRUE(step->sequence_end);
  EXPECT_EQ(step->priority, 2U);
  EXPECT_EQ(step->id, "r");
  EXPECT_EQ(step->parameters, request->parameters);
  EXPECT_EQ(step->parent, request);
  AnswerPlus(step, 0);
}

TEST_F(EnsembleSchedulerTest, LaterStepsGetWhatIsLeftOfTheTimeout) {
  Start({"a:X=in>Y=one", "b:X=one>Y=two", "c:X=two>Y=out"});
  const RequestPtr request = Make("r");
  request->timeout_us = 100;
  scheduler_->Enqueue(request, false);
  RequestPtr step = member("a").Take();
  EXPECT_EQ(step->timeout_us, 100U);
  clock_.Advance(30'000);
  AnswerPlus(step, 0);
  step = member("b").Take();
  EXPECT_EQ(step->timeout_us, 70U);
  clock_.Advance(1'000'000);
  AnswerPlus(step, 0);
  step = member("c").Take();
  EXPECT_EQ(step->timeout_us, 1U) << "0 would mean none";
  AnswerPlus(step, 0);
}

TEST_F(EnsembleSchedulerTest, FailingStepFailsTheRequestWithItsTextAndReason) {
  Start({"a:X=in>Y=one", "b:X=one>Y=out"});
  Enqueue("r");
  member("a").Take()->Fail(Status::Unavailable("Exceeds maximum queue size"),
                           FailureReason::kRejected);
  ASSERT_EQ(answers().size(), 1U);
  EXPECT_EQ(Outcome(0).code(), StatusCode::kUnavailable);
  EXPECT_EQ(Outcome(0).message(), "in ensemble 'e', Exceeds maximum queue size");
  EXPECT_EQ(member("b").submitted(), 0U);
  Enqueue("next");
  Answer("a", 0);
  Answer("b", 0);
  EXPECT_TRUE(Outcome(1).ok()) << "nothing else failed";
}

TEST_F(EnsembleSchedulerTest, FailureCancelsTheOtherBranchAndWaitsForItsEnd) {
  Start({"a:X=in>Y=left", "b:X=in>Y=right"}, {"left", "right"});
  const RequestPtr request = Enqueue("r");
  member("b").set_busy(true);
  member("a").Take()->Fail(Status::Internal("boom"), FailureReason::kBackend);
  EXPECT_EQ(member("b").cancelled(), 1U);
  EXPECT_TRUE(answers().empty()) << "b still reads the request's input";
  Answer("b", 0);
  EXPECT_EQ(Outcome(0).message(), "in ensemble 'e', boom");
  EXPECT_EQ(request->failure_reason, FailureReason::kBackend);
}

TEST_F(EnsembleSchedulerTest, MissingMemberFailsTheRequestAndAReloadedOneServesTheNext) {
  Start({"a:X=in>Y=one", "b:X=one>Y=out"});
  const auto old = router_.Find("b", -1);
  router_.Remove("b");
  Enqueue("r");
  Answer("a", 0);
  EXPECT_EQ(Outcome(0).code(), StatusCode::kNotFound);
  EXPECT_EQ(Outcome(0).message(), "in ensemble 'e', Request for unknown model: 'b' is not found");
  ScriptedMember& reloaded = router_.Add(MakeMemberSpec("b", {"X"}, {"Y"}));
  Enqueue("next");
  Answer("a", 0);
  EXPECT_EQ(reloaded.waiting(), 1U);
  Answer("b", 0);
  EXPECT_TRUE(Outcome(1).ok());
}

TEST_F(EnsembleSchedulerTest, CancellingTheRequestCancelsItsWaitingStep) {
  Start({"a:X=in>Y=one", "b:X=one>Y=out"});
  const RequestPtr request = Enqueue("r");
  request->Cancel();
  ASSERT_EQ(answers().size(), 1U);
  EXPECT_EQ(Outcome(0).code(), StatusCode::kCancelled);
  EXPECT_EQ(request->failure_reason, FailureReason::kCanceled);
}

TEST_F(EnsembleSchedulerTest, RequestCancelledWhileAStepRunsStartsNoFurtherStep) {
  Start({"a:X=in>Y=one", "b:X=one>Y=out"});
  member("a").set_busy(true);
  const RequestPtr request = Enqueue("r");
  request->Cancel();
  EXPECT_TRUE(answers().empty());
  Answer("a", 0);
  EXPECT_EQ(Outcome(0).code(), StatusCode::kCancelled);
  EXPECT_EQ(member("b").submitted(), 0U);
}

TEST_F(EnsembleSchedulerTest, RequestCancelledDuringItsLastStepIsAnswered) {
  Start({"a:X=in>Y=out"});
  member("a").set_busy(true);
  const RequestPtr request = Enqueue("r", 1);
  request->Cancel();
  Answer("a", 1);
  EXPECT_TRUE(Outcome(0).ok());
}

TEST_F(EnsembleSchedulerTest, RequestCancelledBeforeItWasEnqueuedRunsNothing) {
  Start({"a:X=in>Y=out"});
  const RequestPtr request = Make("r");
  request->Cancel();
  scheduler_->Enqueue(request, false);
  EXPECT_EQ(Outcome(0).code(), StatusCode::kCancelled);
  EXPECT_EQ(member("a").submitted(), 0U);
}

TEST_F(EnsembleSchedulerTest, AtMostMaxInflightRequestsAreOnTheirWayInOrder) {
  max_inflight_ = 2;
  Start({"a:X=in>Y=one", "b:X=one>Y=out"});
  for (const char* id : {"1", "2", "3", "4"}) Enqueue(id);
  EXPECT_EQ(member("a").submitted(), 2U);
  EXPECT_EQ(scheduler_->pending_requests(), 2U);
  Answer("a", 0);
  EXPECT_EQ(member("a").submitted(), 2U) << "between two steps a request still counts";
  Answer("b", 0);
  EXPECT_EQ(member("a").submitted(), 3U);
  EXPECT_EQ(answers()[0].id, "1");
  Answer("a", 0);
  const RequestPtr third = member("a").Take();
  EXPECT_EQ(third->id, "3");
  third->Fail(Status::Internal("boom"), FailureReason::kBackend);
  const RequestPtr fourth = member("a").Take();
  EXPECT_EQ(fourth->id, "4") << "a failed request makes room, too";
  EXPECT_EQ(scheduler_->pending_requests(), 0U);
  AnswerPlus(fourth, 0);
  for (int i = 0; i < 2; ++i) Answer("b", 0);
  EXPECT_EQ(answers().size(), 4U);
}

TEST_F(EnsembleSchedulerTest, RequestThatWaitsForRoomIsCancelledAtOnce) {
  max_inflight_ = 1;
  Start({"a:X=in>Y=out"});
  Enqueue("running");
  const RequestPtr waiting = Enqueue("waiting");
  waiting->Cancel();
  ASSERT_EQ(answers().size(), 1U);
  EXPECT_EQ(answers()[0].id, "waiting");
  EXPECT_EQ(Outcome(0).code(), StatusCode::kCancelled);
  EXPECT_EQ(scheduler_->pending_requests(), 0U);
  Answer("a", 0);
  EXPECT_EQ(member("a").submitted(), 1U);
}

TEST_F(EnsembleSchedulerTest, TimeoutCountsWhileARequestWaitsForRoom) {
  max_inflight_ = 1;
  Start({"a:X=in>Y=out"});
  Enqueue("running");
  for (const char* id : {"first", "patient", "second"}) {
    const RequestPtr request = Make(id);
    request->timeout_us = id[0] == 'f' ? 100 : id[0] == 's' ? 200 : 0;
    scheduler_->Enqueue(request, /*lend=*/false);
  }
  clock_.Advance(100'000);
  EXPECT_EQ(sink_->Await(1)[0].id, "first");
  EXPECT_EQ(Outcome(0).code(), StatusCode::kUnavailable);
  EXPECT_EQ(Outcome(0).message(), "Request timeout expired");
  clock_.Advance(100'000);
  EXPECT_EQ(sink_->Await(2)[1].id, "second") << "the timer looks ahead to the next one";
  EXPECT_EQ(scheduler_->pending_requests(), 1U);
  Answer("a", 0);
  Answer("a", 0);
  EXPECT_TRUE(Outcome(3).ok()) << "without a timeout a request waits for as long as it takes";
}

TEST_F(EnsembleSchedulerTest, RequestWhoseTimeIsUpDoesNotStartWhenThereIsRoom) {
  max_inflight_ = 1;
  Start({"a:X=in>Y=out"});
  Enqueue("running");
  const RequestPtr late = Make("late");
  late->timeout_us = 100;
  scheduler_->Enqueue(late, /*lend=*/true);
  clock_.Advance(100'000);
  Answer("a", 0);
  sink_->Await(2);
  EXPECT_TRUE(late->failed);
  EXPECT_EQ(late->failure_reason, FailureReason::kRejected);
  EXPECT_EQ(member("a").submitted(), 1U);
}

TEST_F(EnsembleSchedulerTest, StopFailsWhatWaitsAndLetsTheRestFinish) {
  max_inflight_ = 1;
  Start({"a:X=in>Y=out"});
  Enqueue("running");
  Enqueue("waiting");
  scheduler_->Stop();
  EXPECT_EQ(answers()[0].id, "waiting");
  EXPECT_EQ(Outcome(0).code(), StatusCode::kUnavailable);
  Answer("a", 0);
  EXPECT_TRUE(Outcome(1).ok());
  Enqueue("late");
  EXPECT_EQ(Outcome(2).code(), StatusCode::kUnavailable);
}

TEST_F(EnsembleSchedulerTest, LentRequestsWaitForTheLender) {
  Start({"a:X=in>Y=out"});
  EXPECT_TRUE(scheduler_->lendable());
  scheduler_->Enqueue(Make("r"), /*lend=*/true);
  EXPECT_EQ(member("a").submitted(), 0U);
  scheduler_->RunLent();
  EXPECT_EQ(member("a").submitted(), 1U);
  scheduler_->Enqueue(Make("left"), /*lend=*/true);
  scheduler_->WakeWorker();
  EXPECT_EQ(member("a").submitted(), 2U);
  Answer("a", 0);
  Answer("a", 0);
}

TEST_F(EnsembleSchedulerTest, LongChainOfImmediateAnswersDoesNotUseUpTheStack) {
  constexpr int kSteps = 5'000;
  member("a").AnswerAtOnce([](const RequestPtr& request) { AnswerPlus(request, 1); });
  std::vector<std::string> steps;
  for (int i = 0; i < kSteps; ++i) {
    steps.push_back("a:X=" + (i == 0 ? "in" : "t" + std::to_string(i)) +
                    ">Y=" + (i + 1 == kSteps ? "out" : "t" + std::to_string(i + 1)));
  }
  Start(steps);
  Enqueue("r");
  EXPECT_EQ(Output(0), (Floats{kSteps, kSteps}));
}

TEST_F(EnsembleSchedulerTest, LongQueueOfImmediateFailuresDoesNotUseUpTheStack) {
  constexpr std::size_t kRequests = 5'000;
  max_inflight_ = 1;
  Start({"a:X=in>Y=out"});
  Enqueue("first");
  for (std::size_t i = 0; i < kRequests; ++i) Enqueue("waiting");
  const RequestPtr first = member("a").Take();
  const auto keep = *router_.Find("a", -1);
  router_.Remove("a");
  AnswerPlus(first, 0);
  EXPECT_EQ(sink_->count(), kRequests + 1);
}

TEST_F(EnsembleSchedulerTest, StepWithoutARequiredInputIsSkippedAndItsOutputLeftOut) {
  Start({"a:X=in>Y=one", "b:X=one>Y=left", "c:X=in>Y=right"}, {"left", "right"});
  Enqueue("r", 1);
  AnswerWith(member("a").Take(), {});  // an optional output
  EXPECT_EQ(member("b").submitted(), 0U);
  Answer("c", 1);
  ASSERT_TRUE(Outcome(0).ok()) << Outcome(0).message();
  ASSERT_EQ(answers()[0].response.outputs.size(), 1U);
  EXPECT_EQ(answers()[0].response.outputs[0].name, "right");
}

TEST_F(EnsembleSchedulerTest, OutputAskedForByNameMustExist) {
  Start({"a:X=in>Y=one", "b:X=one>Y=out"});
  const RequestPtr request = Make("r");
  request->outputs.push_back({"out"});
  scheduler_->Enqueue(request, false);
  AnswerWith(member("a").Take(), {});
  EXPECT_EQ(Outcome(0).message(),
            "in ensemble 'e', output 'out' does not exist: a step before it gave no output for it");
}

TEST_F(EnsembleSchedulerTest, OptionalInputMayBeLeftOut) {
  Start({"a:X=in,Z=extra>Y=out"}, {"out"}, {"in", "extra"});
  spec_->inputs[1].optional = true;
  Restart();
  Enqueue("r", 1);
  const RequestPtr step = member("a").Take();
  ASSERT_EQ(step->inputs.size(), 1U);
  EXPECT_EQ(step->inputs[0].name, "X");
  AnswerPlus(step, 1);
  EXPECT_EQ(Output(0), (Floats{2, 2}));
}

TEST_F(EnsembleSchedulerTest, OutputOfAnotherTypeThanConfiguredIsAnError) {
  Start({"a:X=in>Y=out"});
  Enqueue("r");
  const RequestPtr step = member("a").Take();
  InferResponse response;
  response.outputs.push_back(step->inputs[0]);
  response.outputs[0].name = "Y";
  response.outputs[0].type = DataType::kInt32;
  step->Respond(std::move(response), true);
  EXPECT_EQ(Outcome(0).message(),
            "in ensemble 'e', output 'out' is INT32 [1,2] in model 'a', but the ensemble's "
            "configuration says FP32 [-1,-1]");
}

TEST_F(EnsembleSchedulerTest, BatchDimensionIsAddedAndTakenBetweenModelsThatDiffer) {
  spec("a").max_batch_size = 0;
  Start({"a:X=in>Y=mid", "b:X=mid>Y=out"});
  Enqueue("r", 3);
  const RequestPtr first = member("a").Take();
  EXPECT_EQ(first->inputs[0].shape, MakeShape({2}));
  InferResponse response;
  response.outputs.push_back({"Y", DataType::kFp32, MakeShape({2}), first->inputs[0].data});
  first->Respond(std::move(response), true);
  const RequestPtr second = member("b").Take();
  EXPECT_EQ(second->inputs[0].shape, MakeShape({1, 2}));
  AnswerPlus(second, 0);
}

TEST_F(EnsembleSchedulerTest, ReshapeOfTheEnsembleAppliesOnBothSides) {
  spec_ = MakeEnsembleSpec({"in"}, {"out"}, {"a:X=in>Y=out"});
  spec_->inputs[0].dims = MakeShape({2});
  spec_->inputs[0].has_reshape = spec_->outputs[0].has_reshape = true;
  spec_->inputs[0].reshape = MakeShape({2, 1});
  spec_->outputs[0].dims = MakeShape({1, -1});
  spec_->outputs[0].reshape = MakeShape({-1});
  spec("a").inputs[0].dims = MakeShape({2, 1});
  Restart();
  Enqueue("r");
  const RequestPtr step = member("a").Take();
  EXPECT_EQ(step->inputs[0].shape, MakeShape({1, 2, 1}));
  AnswerWith(step, {{"Y", {1, 2, 3}}});
  EXPECT_EQ(answers()[0].response.outputs[0].shape, MakeShape({1, 1, 3}));
}

TEST_F(EnsembleSchedulerTest, ClassificationUsesTheMembersLabels) {
  spec("a").outputs[0].labels = {"cat", "dog"};
  Start({"a:X=in>Y=out"});
  const RequestPtr request = Make("r");
  request->outputs.push_back({"out", 1});
  scheduler_->Enqueue(request, false);
  AnswerWith(member("a").Take(), {{"Y", {0.25, 0.75}}});
  const Tensor classes = answers()[0].response.outputs[0];
  const std::string bytes(reinterpret_cast<const char*>(classes.data.data), classes.data.size);
  EXPECT_NE(bytes.find(":1:dog"), std::string::npos) << bytes;
}

TEST_F(EnsembleSchedulerTest, StatisticsAddUpTheStepsOfSuccessfulRequests) {
  Start({"a:X=in>Y=one", "b:X=one>Y=out"});
  const auto run_step = [&](const std::string& name) {
    const RequestPtr step = member(name).Take();
    step->timestamps.compute_start = 1'000;
    step->timestamps.compute_input_end = 1'010;
    step->timestamps.compute_output_start = 1'110;
    step->timestamps.compute_end = 1'115;
    AnswerPlus(step, 0);
  };
  const RequestPtr request = Make("r");
  request->timestamps.request_start = clock_.NowNs();
  scheduler_->Enqueue(request, false);
  run_step("a");
  clock_.Advance(500);
  run_step("b");
  Enqueue("fails");
  member("a").Take()->Fail(Status::Internal("boom"), FailureReason::kBackend);
  const StatisticsSnapshot numbers = statistics_->Snapshot();
  EXPECT_EQ(numbers.success.count, 1U);
  EXPECT_EQ(numbers.success.ns, 500U);
  EXPECT_EQ(numbers.execution_count, 1U);
  EXPECT_EQ(numbers.inference_count, 1U);
  EXPECT_EQ(numbers.compute_input.ns, 20U);
  EXPECT_EQ(numbers.compute_infer.ns, 200U);
  EXPECT_EQ(numbers.compute_output.ns, 10U);
  EXPECT_EQ(numbers.batches.at(1).compute_infer.ns, 200U);
}

TEST_F(EnsembleSchedulerTest, GraphErrorsAreErrorsOfTheLoad) {
  spec_ = MakeEnsembleSpec({"in"}, {"out"}, {"a:Nope=in>Y=out"});
  const auto scheduler =
      EnsembleScheduler::Create({spec_, &clock_, &timer_, statistics_, &router_});
  EXPECT_NE(scheduler.status().message().find("step 1 (model 'a'): input_map names 'Nope'"),
            std::string::npos);
}

TEST_F(EnsembleSchedulerTest, RequestThatComesBackToItsEnsembleFailsWithTheCycle) {
  Start({"a:X=in>Y=out"});
  const RequestPtr outer = Make("outer");
  const RequestPtr middle = Make("middle");
  auto other = std::make_shared<ModelSpec>(*spec_);
  other->name = "f";
  middle->spec = other;
  middle->parent = outer;
  const RequestPtr inner = Make("inner");
  inner->parent = middle;
  scheduler_->Enqueue(inner, false);
  EXPECT_EQ(Outcome(0).message(), "ensembles are steps of each other: 'e' -> 'f' -> 'e'");
}

}  // namespace
}  // namespace fastserve
