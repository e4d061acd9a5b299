// Why requests failed, as the metrics page tells it: one reason for each failure, and no other.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>

#include "engine/engine.h"
#include "support/puppet_backend.h"
#include "support/requests.h"

namespace fastserve {
namespace {

using ReasonCounts = std::map<std::string, std::string>;

class FailureReasonsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    EngineOptions options;
    options.max_inflight_bytes = 1 << 20;
    auto engine = Engine::Create(options);
    ASSERT_TRUE(engine.ok());
    engine_ = std::move(*engine);
    engine_->RegisterBackend(std::make_unique<PuppetBackend>(strings_));
  }
  ~FailureReasonsTest() override { strings_->Release(); }

  // One instance that runs one row at a time.
  void Serve(const QueuePolicySpec& policy) {
    const auto spec = MakeSpec("puppet", 1);
    spec->dynamic_batching.default_queue_policy = policy;
    auto model = engine_->LoadModel(spec);
    ASSERT_TRUE(model.ok()) << model.status().message();
    (void)engine_->Publish("m", {*model});
  }
  RequestPtr Submit(const std::string& id) {
    RequestPtr request = MakeRequest(id, sink_);
    engine_->Submit(request);
    return request;
  }
  // Its instance is busy until Release.
  void Occupy() {
    strings_->Hold();
    Submit("running");
    strings_->AwaitStarted(1);
  }
  Status OutcomeOf(const std::string& id, std::size_t count) {
    for (const auto& answer : sink_->Await(count)) {
      if (answer.id == id) return answer.response.status;
    }
    return Status::Internal("no answer to " + id);
  }
  // The counts of all reasons once nothing is in flight.
  ReasonCounts Counts() {
    strings_->Release();
    EXPECT_TRUE(engine_->WaitIdle(-1));
    const std::string text = engine_->MetricsText();
    const std::string start = "nv_inference_request_failure{model=\"m\",reason=\"";
    ReasonCounts counts;
    for (std::size_t at = text.find(start); at != std::string::npos; at = text.find(start, at)) {
      at += start.size();
      const std::size_t value = text.find("} ", at) + 2;
      counts[text.substr(at, text.find('"', at) - at)] =
          text.substr(value, text.find('\n', value) - value);
    }
    return counts;
  }
  // One failure, for `reason`.
  static ReasonCounts Only(const std::string& reason) {
    ReasonCounts counts{{"REJECTED", "0"}, {"CANCELED", "0"}, {"BACKEND", "0"}, {"OTHER", "0"}};
    counts[reason] = "1";
    return counts;
  }

  std::shared_ptr<PuppetStrings> strings_ = std::make_shared<PuppetStrings>();
  std::shared_ptr<RecordingSink> sink_ = std::make_shared<RecordingSink>();
  std::unique_ptr<Engine> engine_;
};

TEST_F(FailureReasonsTest, AFullQueueCountsAsRejected) {
  QueuePolicySpec policy;
  policy.max_queue_size = 1;
  Serve(policy);
  Occupy();
  Submit("waiting");
  Submit("refused");
  EXPECT_EQ(OutcomeOf("refused", 1).message(), "Exceeds maximum queue size");
  EXPECT_EQ(Counts(), Only("REJECTED"));
}

TEST_F(FailureReasonsTest, ATimeoutInTheQueueCountsAsRejected) {
  QueuePolicySpec policy;
  policy.allow_timeout_override = true;
  Serve(policy);
  Occupy();
  const RequestPtr late = MakeRequest("late", sink_);
  late->timeout_us = 1;
  engine_->Submit(late);
  EXPECT_EQ(OutcomeOf("late", 1).message(), "Request timeout expired");
  EXPECT_EQ(Counts(), Only("REJECTED"));
}

TEST_F(FailureReasonsTest, ARequestCancelledInTheQueueCountsAsCanceled) {
  Serve({});
  Occupy();
  Submit("leaving")->Cancel();
  EXPECT_EQ(OutcomeOf("leaving", 1).code(), StatusCode::kCancelled);
  EXPECT_EQ(Counts(), Only("CANCELED"));
}

TEST_F(FailureReasonsTest, AnErrorOfTheBackendCountsAsBackend) {
  Serve({});
  strings_->EndWith(Status::Internal("no such kernel"));
  Submit("broken");
  EXPECT_EQ(OutcomeOf("broken", 1).message(), "no such kernel");
  EXPECT_EQ(Counts(), Only("BACKEND"));
}

TEST_F(FailureReasonsTest, AnInvalidRequestCountsAsOther) {
  Serve({});
  const RequestPtr request = MakeRequest("invalid", sink_);
  request->inputs[0].name = "Z";
  engine_->Submit(request);
  EXPECT_EQ(OutcomeOf("invalid", 1).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(Counts(), Only("OTHER"));
}

}  // namespace
}  // namespace fastserve
