// What a batch does with a backend that answers its requests itself, and badly.
#include "scheduling/batch_slot.h"

#include <gtest/gtest.h>

#include "scheduling/dynamic_batcher.h"
#include "support/fake_clock.h"
#include "support/requests.h"

namespace fastserve {
namespace {

// Answers as the test says instead of with tensors.
class AnsweringInstance final : public BackendInstance {
 public:
  using Answer = std::function<Status(Execution*)>;

  explicit AnsweringInstance(Answer answer) : answer_(std::move(answer)) {}
  bool takes_requests() const override { return true; }
  void Execute(Execution* execution, ExecutionObserver* observer) override {
    observer->OnExecuted(execution, answer_(execution));
  }

 private:
  const Answer answer_;
};

class BatchSlotTest : public ::testing::Test {
 protected:
  // Two requests in one batch.
  std::vector<RecordingSink::Answer> Run(AnsweringInstance::Answer answer) {
    DynamicBatcher::Options options;
    options.spec = spec_;
    options.clock = &clock_;
    options.timer = &timer_;
    options.statistics = std::make_shared<ModelStatistics>();
    options.own_threads = false;
    options.instances.push_back(std::make_unique<AnsweringInstance>(std::move(answer)));
    const auto batcher = DynamicBatcher::Create(std::move(options)).value();
    for (const char* id : {"a", "b"}) batcher->Enqueue(MakeRequest(id, sink_), /*lend=*/true);
    batcher->RunLent();
    batcher->Stop();
    return sink_->Await(sink_->count());
  }

  FakeClock clock_;
  DeadlineTimer timer_{clock_};
  std::shared_ptr<ModelSpec> spec_ = MakeSpec("answering", 8);
  std::shared_ptr<RecordingSink> sink_ = std::make_shared<RecordingSink>();
};

TEST_F(BatchSlotTest, AnotherNumberOfResponsesThanOfRequestsFailsTheBatch) {
  for (const std::size_t count : {0U, 1U, 3U}) {
    sink_ = std::make_shared<RecordingSink>();
    const auto answers = Run([count](Execution* execution) {
      execution->responses.resize(count);
      return Status::Ok();
    });
    ASSERT_EQ(answers.size(), 2U) << count;
    for (const auto& answer : answers) {
      EXPECT_EQ(answer.response.status.code(), StatusCode::kInternal);
      EXPECT_EQ(
          answer.response.status.message(),
          "model 'm': the backend returned " + std::to_string(count) + " responses, expected 2");
    }
  }
}

TEST_F(BatchSlotTest, FailedDecoupledBatchAnswersThoseThatHadNoFinalResponse) {
  spec_->decoupled = true;
  const auto answers = Run([](Execution* execution) {
    execution->requests[0]->Respond({}, /*final=*/true);
    return Status::Internal("broken");
  });
  ASSERT_EQ(answers.size(), 2U);
  EXPECT_TRUE(answers[0].response.status.ok());
  EXPECT_EQ(answers[1].id, "b");
  EXPECT_EQ(answers[1].response.status.message(), "broken");
  EXPECT_TRUE(answers[1].final);
}

TEST_F(BatchSlotTest, DecoupledBatchThatSucceededIsLeftToItsBackend) {
  spec_->decoupled = true;
  std::vector<RequestPtr> later;
  EXPECT_EQ(Run([&later](Execution* execution) {
              later = execution->requests;
              return Status::Ok();
            }).size(),
            0U);
  for (const RequestPtr& request : later) request->Respond({}, /*final=*/true);
  EXPECT_EQ(sink_->count(), 2U);
}

}  // namespace
}  // namespace fastserve
