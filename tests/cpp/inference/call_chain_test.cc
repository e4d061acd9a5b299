#include "inference/call_chain.h"

#include <gmock/gmock.h>

#include <memory>
#include <string>

namespace fastserve {
namespace {

using ::testing::HasSubstr;

std::shared_ptr<const ModelSpec> Named(const std::string& name) {
  auto spec = std::make_shared<ModelSpec>();
  spec->name = name;
  return spec;
}

// A request to a model, caused by another one, that an instance executes.
RequestPtr Running(const std::shared_ptr<const ModelSpec>& spec, RequestPtr caller) {
  auto request = std::make_shared<InferRequest>();
  request->model_name = spec->name;
  request->spec = spec;
  request->caller = std::move(caller);
  request->holds_instance = true;
  return request;
}

RequestPtr To(const std::string& name, RequestPtr caller) {
  auto request = std::make_shared<InferRequest>();
  request->model_name = name;
  request->caller = std::move(caller);
  return request;
}

class CallChain : public ::testing::Test {
 protected:
  const std::shared_ptr<const ModelSpec> a_ = Named("a");
  const std::shared_ptr<const ModelSpec> b_ = Named("b");
};

TEST_F(CallChain, AClientsRequestIsCausedByNobody) {
  const RequestPtr request = To("a", nullptr);
  EXPECT_EQ(CauseOf(*request), nullptr);
  EXPECT_FALSE(IsNested(*request));
  EXPECT_TRUE(CheckCallChain(*request, *a_, 1).ok());
}

TEST_F(CallChain, ACallThatOnlyItsAncestorsCouldServeNamesTheChain) {
  const RequestPtr request = To("a", Running(b_, Running(a_, nullptr)));
  const Status status = CheckCallChain(*request, *a_, 1);
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr("a -> b -> a"));
  EXPECT_TRUE(IsNested(*request));
}

TEST_F(CallChain, ASecondInstanceLetsItWait) {
  const RequestPtr request = To("a", Running(b_, Running(a_, nullptr)));
  EXPECT_TRUE(CheckCallChain(*request, *a_, 2).ok());
  const RequestPtr deeper = To("a", Running(a_, Running(a_, nullptr)));
  EXPECT_FALSE(CheckCallChain(*deeper, *a_, 2).ok());
}

TEST_F(CallChain, AnAncestorWhoseExecutionEndedHoldsNothing) {
  const RequestPtr ended = Running(a_, nullptr);
  ended->holds_instance = false;  // a decoupled one that still answers
  EXPECT_TRUE(CheckCallChain(*To("a", ended), *a_, 1).ok());
}

TEST_F(CallChain, AnotherVersionOfTheNameIsAnotherModel) {
  EXPECT_TRUE(CheckCallChain(*To("a", Running(a_, nullptr)), *Named("a"), 1).ok());
}

TEST_F(CallChain, TheChainGoesThroughEnsembles) {
  const auto ensemble = Named("e");
  const RequestPtr step = To("a", nullptr);
  step->parent = Running(ensemble, Running(a_, nullptr));
  EXPECT_TRUE(IsNested(*step));
  EXPECT_THAT(CheckCallChain(*step, *a_, 1).message(), HasSubstr("a -> e -> a"));
}

TEST_F(CallChain, AnEnsembleWithoutALimitNeverHoldsItself) {
  EXPECT_TRUE(CheckCallChain(*To("a", Running(a_, nullptr)), *a_, 0).ok());
}

TEST_F(CallChain, ASecondInstanceDoesNotHelpWhereRequestsWaitForTheirPredecessors) {
  const auto sequences = std::make_shared<ModelSpec>(*Named("s"));
  sequences->sequence_batching.enabled = true;
  EXPECT_THAT(CheckCallChain(*To("s", Running(sequences, nullptr)), *sequences, 2).message(),
              HasSubstr("(s -> s) and serves its sequences in order"));
  const auto ordered = std::make_shared<ModelSpec>(*Named("o"));
  ordered->dynamic_batching.preserve_ordering = true;
  EXPECT_THAT(CheckCallChain(*To("o", Running(ordered, nullptr)), *ordered, 2).message(),
              HasSubstr("(o -> o) and answers in order (preserve_ordering)"));
  EXPECT_TRUE(CheckCallChain(*To("o", Running(a_, nullptr)), *ordered, 2).ok());
}

TEST_F(CallChain, AStepOfAClientsEnsembleIsNotNested) {
  const RequestPtr step = To("a", nullptr);
  step->parent = Running(Named("e"), nullptr);
  EXPECT_FALSE(IsNested(*step));
}

}  // namespace
}  // namespace fastserve
