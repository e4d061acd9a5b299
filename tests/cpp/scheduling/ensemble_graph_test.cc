#include "scheduling/ensemble_graph.h"

#include <gtest/gtest.h>

#include "scheduling/ensemble_members.h"
#include "support/scripted_members.h"

namespace fastserve {
namespace {

using Steps = std::vector<std::string>;

Status GraphError(const std::vector<std::string>& inputs, const std::vector<std::string>& outputs,
                  const Steps& steps) {
  return EnsembleGraph::Create(*MakeEnsembleSpec(inputs, outputs, steps)).status();
}

TEST(EnsembleGraph, KnowsWhoWritesAndWhoReadsEachTensor) {
  const auto spec = MakeEnsembleSpec({"in"}, {"out"}, {"a:X=in>Y=mid", "b:P=mid,Q=mid>Z=out"});
  const auto graph = EnsembleGraph::Create(*spec);
  ASSERT_TRUE(graph.ok()) << graph.status().message();
  const auto& middle = graph->tensors()[*graph->FindTensorIndex("mid")];
  EXPECT_EQ(middle.producer, 0U);
  EXPECT_EQ(middle.consumers, (std::vector<std::size_t>{1, 1}));
  EXPECT_EQ(graph->tensors()[*graph->FindTensorIndex("in")].producer, std::nullopt);
  EXPECT_EQ(graph->tensors()[*graph->FindTensorIndex("out")].output, &spec->outputs[0]);
}

TEST(EnsembleGraph, StepsMayBeWrittenInAnyOrder) {
  EXPECT_TRUE(GraphError({"in"}, {"out"}, {"b:X=mid>Y=out", "a:X=in>Y=mid"}).ok());
}

TEST(EnsembleGraph, EnsembleWithoutStepsIsRefused) {
  EXPECT_EQ(GraphError({"in"}, {"out"}, {}).message(),
            "ensemble 'e' has no step; write ensemble_scheduling { step [ ... ] }");
}

TEST(EnsembleGraph, TensorThatNobodyWritesIsNamedWithItsReader) {
  EXPECT_EQ(GraphError({"in"}, {"out"}, {"a:X=in>Y=out", "b:X=nowhere>Y=other"}).message(),
            "in ensemble 'e', step 2 (model 'b') reads ensemble tensor 'nowhere', which no step "
            "writes and which is no input of the ensemble");
}

TEST(EnsembleGraph, OutputThatNobodyWritesIsNamed) {
  EXPECT_EQ(GraphError({"in"}, {"out"}, {"a:X=in>Y=mid"}).message(),
            "in ensemble 'e', output 'out' is written by no step; map an output to it");
}

TEST(EnsembleGraph, TensorWithTwoWritersNamesBoth) {
  EXPECT_EQ(GraphError({"in"}, {"out"}, {"a:X=in>Y=out", "b:X=in>Y=out"}).message(),
            "in ensemble 'e', step 2 (model 'b'): output 'Y' is mapped to ensemble tensor 'out', "
            "which is written by step 1 (model 'a')");
  EXPECT_EQ(GraphError({"in"}, {"out"}, {"a:X=in>Y=out,Z=out"}).message(),
            "in ensemble 'e', step 1 (model 'a'): output 'Z' is mapped to ensemble tensor 'out', "
            "which is written already");
}

TEST(EnsembleGraph, InputOfTheEnsembleIsNotWrittenByAStep) {
  EXPECT_EQ(GraphError({"in"}, {"out"}, {"a:X=in>Y=out,Z=in"}).message(),
            "in ensemble 'e', step 1 (model 'a'): output 'Z' is mapped to ensemble tensor 'in', "
            "which is an input of the ensemble");
}

TEST(EnsembleGraph, CycleIsNamedStepByStep) {
  const Status status = GraphError(
      {"in"}, {"out"}, {"a:X=in>Y=out", "b:X=one>Y=two", "c:X=two>Y=three", "d:X=three>Y=one"});
  EXPECT_EQ(status.message(),
            "in ensemble 'e', steps wait for each other: step 2 (model 'b') -> step 3 (model 'c') "
            "-> step 4 (model 'd') -> step 2 (model 'b')");
  EXPECT_EQ(GraphError({"in"}, {"out"}, {"a:X=in,Z=out>Y=out"}).message(),
            "in ensemble 'e', steps wait for each other: step 1 (model 'a') -> step 1 (model 'a')");
}

TEST(EnsembleGraph, StepBehindACycleIsNotBlamed) {
  const Status status =
      GraphError({"in"}, {"out"}, {"after:X=one>Y=out", "b:X=two>Y=one", "c:X=one>Y=two"});
  EXPECT_EQ(status.message().find("after"), std::string::npos) << status.message();
}

TEST(EnsembleGraph, EnsembleIsNoStepOfItself) {
  EXPECT_EQ(GraphError({"in"}, {"out"}, {"e:X=in>Y=out"}).message(),
            "in ensemble 'e', step 1 (model 'e'): an ensemble cannot be a step of itself");
}

std::vector<bool> StepsFor(const std::vector<std::string>& asked) {
  const auto spec = MakeEnsembleSpec({"in"}, {"left", "right"},
                                     {"shared:X=in>Y=mid", "l:X=mid>Y=left", "r:X=mid>Y=side",
                                      "rr:X=side>Y=right", "log:X=mid>Y=unread"});
  const auto graph = EnsembleGraph::Create(*spec);
  std::vector<RequestedOutput> requested;
  for (const std::string& name : asked) requested.push_back({name});
  return graph->StepsFor(requested);
}

TEST(EnsembleGraph, OnlyStepsThatLeadToAnAskedOutputAreNeeded) {
  EXPECT_EQ(StepsFor({}), (std::vector<bool>{true, true, true, true, true}));
  EXPECT_EQ(StepsFor({"left", "right"}), (std::vector<bool>{true, true, true, true, true}));
  EXPECT_EQ(StepsFor({"left"}), (std::vector<bool>{true, true, false, false, true}));
  EXPECT_EQ(StepsFor({"right"}), (std::vector<bool>{true, false, true, true, true}));
}

class MemberCheckTest : public ::testing::Test {
 protected:
  MemberCheckTest() {
    ensemble_ = MakeEnsembleSpec({"in"}, {"out"}, {"a:X=in>Y=mid", "b:X=mid>Y=out"});
    members_ = {MakeMemberSpec("a", {"X"}, {"Y"}), MakeMemberSpec("b", {"X"}, {"Y"})};
  }
  std::string Error(const std::vector<std::size_t>& absent = {}) {
    const auto graph = EnsembleGraph::Create(*ensemble_);
    std::vector<std::shared_ptr<const ModelSpec>> members(members_.begin(), members_.end());
    for (const std::size_t step : absent) members[step] = nullptr;
    return CheckMembers(*ensemble_, *graph, members).message();
  }

  std::shared_ptr<ModelSpec> ensemble_;
  std::vector<std::shared_ptr<ModelSpec>> members_;
};

TEST_F(MemberCheckTest, MembersThatFitPassLoadedOrNot) {
  EXPECT_EQ(Error(), "");
  EXPECT_EQ(Error({0}), "");
  EXPECT_EQ(Error({0, 1}), "");
}

TEST_F(MemberCheckTest, UnknownNameIsToldWithTheModelsOwn) {
  members_[1]->inputs[0].name = "P";
  EXPECT_EQ(Error(),
            "in ensemble 'e', step 2 (model 'b'): input_map names 'X', the model's inputs are 'P'");
}

TEST_F(MemberCheckTest, RequiredInputMustBeMappedAndAnOptionalOneNeedNot) {
  members_[0]->inputs.push_back(MakeTensorSpec("Z"));
  EXPECT_EQ(Error(),
            "in ensemble 'e', step 1 (model 'a'): input 'Z' is not mapped; write input_map { key: "
            "\"Z\" value: \"...\" }");
  members_[0]->inputs.back().optional = true;
  EXPECT_EQ(Error(), "");
}

TEST_F(MemberCheckTest, DataTypesMustAgreeAlongATensor) {
  members_[1]->inputs[0].type = DataType::kInt32;
  EXPECT_EQ(Error(),
            "in ensemble 'e', step 2 (model 'b'): ensemble tensor 'mid' is FP32 in model 'a' and "
            "INT32 in model 'b'");
  EXPECT_EQ(Error({0}), "") << "what lies between is known from a alone";
  members_[1]->inputs[0].type = DataType::kFp32;
  members_[1]->outputs[0].type = DataType::kBytes;
  EXPECT_EQ(Error({0}),
            "in ensemble 'e', step 2 (model 'b'): ensemble tensor 'out' is FP32 in model 'e' and "
            "BYTES in model 'b'");
}

TEST_F(MemberCheckTest, ShapesMustAgreeAndVariableDimensionsAgreeWithAll) {
  members_[0]->outputs[0].dims = MakeShape({3});
  EXPECT_EQ(Error(), "");
  members_[1]->inputs[0].dims = MakeShape({4});
  EXPECT_EQ(Error(),
            "in ensemble 'e', step 2 (model 'b'): ensemble tensor 'mid' has shape [-1,3] in model "
            "'a' and [-1,4] in model 'b'");
}

TEST_F(MemberCheckTest, ModelWithoutBatchesMayTakeTheFullShape) {
  members_[1]->max_batch_size = 0;
  members_[1]->inputs[0].dims = MakeShape({-1, 4});
  members_[1]->outputs[0].dims = MakeShape({-1, -1});
  EXPECT_EQ(Error(), "");
  members_[1]->inputs[0].dims = MakeShape({-1, 4, 2});
  EXPECT_NE(Error().find("step 2 (model 'b'): ensemble tensor 'mid' has shape"), std::string::npos);
}

TEST_F(MemberCheckTest, MemberMustTakeTheEnsemblesBatches) {
  members_[1]->max_batch_size = 4;
  EXPECT_EQ(Error(),
            "in ensemble 'e', step 2 (model 'b'): the ensemble allows a batch size of 8, the model "
            "only 4; write a smaller max_batch_size");
}

TEST_F(MemberCheckTest, DecoupledMemberNeedsADecoupledEnsemble) {
  members_[0]->decoupled = true;
  EXPECT_EQ(Error(),
            "in ensemble 'e', step 1 (model 'a'): the model is decoupled and the ensemble is not; "
            "write model_transaction_policy { decoupled: true } in the ensemble's configuration");
  ensemble_->decoupled = true;
  EXPECT_EQ(Error(), "");
}

Shape Adapted(bool from, bool to, std::initializer_list<std::int64_t> dims,
              std::initializer_list<std::int64_t> shape) {
  Shape result = MakeShape(shape);
  AdaptBatchDimension(from, to, MakeShape(dims), &result);
  return result;
}

TEST(AdaptBatchDimension, AddsOrTakesAFirstDimensionOfOneWhereTheReceiverNeedsIt) {
  EXPECT_EQ(Adapted(false, true, {4}, {4}), MakeShape({1, 4}));
  EXPECT_EQ(Adapted(true, false, {4}, {1, 4}), MakeShape({4}));
  EXPECT_EQ(Adapted(true, false, {-1, 4}, {3, 4}), MakeShape({3, 4}));
  EXPECT_EQ(Adapted(true, false, {4}, {3, 4}), MakeShape({3, 4}))
      << "left for the member to refuse";
  EXPECT_EQ(Adapted(false, true, {4}, {3, 4}), MakeShape({3, 4}));
  EXPECT_EQ(Adapted(true, true, {4}, {4}), MakeShape({4}));
}

}  // namespace
}  // namespace fastserve
