#include "inference/request.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace fastserve {
namespace {

class RecordingSink : public ResponseSink {
 public:
  void OnResponse(const RequestPtr&, InferResponse response, bool final) override {
    responses.push_back(std::move(response));
    finals += final ? 1 : 0;
  }
  std::vector<InferResponse> responses;
  int finals = 0;
};

class CountingHook : public CancelHook {
 public:
  void OnCancel(const RequestPtr&) override { ++calls; }
  std::atomic<int> calls{0};
};

class InferRequestTest : public testing::Test {
 protected:
  InferRequestTest() {
    request_->model_name = "m";
    request_->id = "id";
    request_->sink = sink_;
  }

  std::shared_ptr<RecordingSink> sink_ = std::make_shared<RecordingSink>();
  RequestPtr request_ = std::make_shared<InferRequest>();
};

TEST_F(InferRequestTest, IsCompletedByItsFinalResponseOnly) {
  request_->Respond({}, false);
  EXPECT_FALSE(request_->completed());
  request_->Respond({}, true);
  EXPECT_TRUE(request_->completed());
  EXPECT_EQ(sink_->responses.size(), 2u);
  EXPECT_EQ(sink_->finals, 1);
}

TEST_F(InferRequestTest, FailsWithItsOwnNameVersionAndId) {
  auto spec = std::make_shared<ModelSpec>();
  spec->version = 3;
  request_->spec = spec;
  request_->Fail(Status::Unavailable("no"), FailureReason::kRejected);
  ASSERT_EQ(sink_->responses.size(), 1u);
  const InferResponse& response = sink_->responses[0];
  EXPECT_EQ(response.status.message(), "no");
  EXPECT_EQ(response.model_name, "m");
  EXPECT_EQ(response.model_version, 3);
  EXPECT_EQ(response.id, "id");
  EXPECT_TRUE(request_->failed);
  EXPECT_EQ(request_->failure_reason, FailureReason::kRejected);
}

TEST_F(InferRequestTest, DiesOfASecondCompletion) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  request_->Respond({}, true);
  EXPECT_DEATH(request_->Respond({}, true), "after its final response");
  EXPECT_DEATH(request_->Fail(Status::Internal("x"), FailureReason::kOther),
               "after its final response");
  EXPECT_DEATH(request_->Respond({}, false), "after its final response");
}

TEST_F(InferRequestTest, LetsItsSinkGoAfterTheFinalResponse) {
  const std::weak_ptr<RecordingSink> watch = sink_;
  sink_.reset();
  request_->Respond({}, false);
  EXPECT_FALSE(watch.expired());
  request_->Respond({}, true);
  EXPECT_TRUE(watch.expired());
}

TEST_F(InferRequestTest, TellsTheHookOfACancellationOnce) {
  const auto hook = std::make_shared<CountingHook>();
  EXPECT_TRUE(request_->SetCancelHook(hook));
  EXPECT_FALSE(request_->cancelled());
  request_->Cancel();
  request_->Cancel();
  EXPECT_TRUE(request_->cancelled());
  EXPECT_EQ(hook->calls, 1);
}

TEST_F(InferRequestTest, RefusesAHookWhenCancelledAlready) {
  const auto hook = std::make_shared<CountingHook>();
  request_->Cancel();
  EXPECT_FALSE(request_->SetCancelHook(hook));
  request_->Cancel();
  EXPECT_EQ(hook->calls, 0);
}

TEST_F(InferRequestTest, DoesNotCallAHookThatWasTakenAway) {
  const auto hook = std::make_shared<CountingHook>();
  EXPECT_TRUE(request_->SetCancelHook(hook));
  EXPECT_TRUE(request_->SetCancelHook(nullptr));
  request_->Cancel();
  EXPECT_EQ(hook->calls, 0);
  EXPECT_EQ(hook.use_count(), 1);
}

// Either the hook was set in time and is told, or its owner is told that it came too late.
TEST_F(InferRequestTest, LosesNoCancellationInARaceWithTheHook) {
  for (int i = 0; i < 2'000; ++i) {
    const auto request = std::make_shared<InferRequest>();
    const auto hook = std::make_shared<CountingHook>();
    std::thread canceller([&] { request->Cancel(); });
    const bool in_time = request->SetCancelHook(hook);
    canceller.join();
    ASSERT_EQ(hook->calls, in_time ? 1 : 0);
  }
}

}  // namespace
}  // namespace fastserve
