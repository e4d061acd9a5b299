#include "scheduling/batch_policy.h"

#include <gtest/gtest.h>

#include "support/requests.h"

namespace fastserve {
namespace {

class BatchPolicyTest : public ::testing::Test {
 protected:
  void Enqueue(int rows, int width = 2, std::int64_t since_ns = 0) {
    RequestPtr request = MakeRequest("r", nullptr, 0, rows, width);
    request->timestamps.queue_start = since_ns;
    queue_.Push(std::move(request));
  }
  BatchChoice Choose(std::int64_t now_ns = 0) { return BatchPolicy(*spec_).Choose(queue_, now_ns); }

  std::shared_ptr<ModelSpec> spec_ = MakeSpec("puppet", 8);
  PolicyQueue queue_{DynamicBatchingSpec{}};
};

TEST_F(BatchPolicyTest, RaggedInputsOfDifferentShapesShareABatch) {
  spec_->inputs[0].allow_ragged_batch = true;
  Enqueue(1, 2);
  Enqueue(2, 5);
  Enqueue(1, 0);
  EXPECT_EQ(Choose().request_count, 3U);
  EXPECT_EQ(Choose().batch_size, 4);
}

TEST_F(BatchPolicyTest, RaggedBatchesKeepToTheMaximumOfRows) {
  spec_->inputs[0].allow_ragged_batch = true;
  Enqueue(5, 1);
  Enqueue(4, 100);
  EXPECT_EQ(Choose().request_count, 1U);
}

TEST(SameBatchShape, OtherInputsThanTheRaggedOnesMustAgree) {
  const auto make = [](int ragged_width, int width) {
    RequestPtr request = MakeRequest("r", nullptr, 0, 1, ragged_width);
    request->inputs.push_back(MakeRequest("r", nullptr, 0, 1, width)->inputs[0]);
    request->inputs[1].name = "W";
    return request;
  };
  const std::vector<std::string> ragged = {"X"};
  EXPECT_TRUE(SameBatchShape(*make(1, 3), *make(9, 3), ragged));
  EXPECT_FALSE(SameBatchShape(*make(1, 3), *make(9, 4), ragged));
  EXPECT_FALSE(SameBatchShape(*make(1, 3), *make(9, 3), {}));
}

TEST(SameBatchShape, RequestsThatLeaveOutAnOptionalInputDoNotJoinThoseThatSendIt) {
  const RequestPtr with = MakeRequest("a", nullptr);
  const RequestPtr without = MakeRequest("b", nullptr);
  with->inputs.push_back(with->inputs[0]);
  with->inputs[1].name = "bias";
  const std::vector<std::string> ragged = {"X"};
  EXPECT_FALSE(SameBatchShape(*with, *without, ragged));
  without->inputs.push_back(without->inputs[0]);
  without->inputs[1].name = "scale";
  EXPECT_FALSE(SameBatchShape(*with, *without, ragged));
  without->inputs[1].name = "bias";
  EXPECT_TRUE(SameBatchShape(*with, *without, ragged));
}

TEST_F(BatchPolicyTest, EmptyQueueMakesNoBatch) { EXPECT_EQ(Choose().request_count, 0U); }

TEST_F(BatchPolicyTest, WithoutDynamicBatchingEachRequestIsABatch) {
  spec_->dynamic_batching.enabled = false;
  Enqueue(3);
  Enqueue(3);
  EXPECT_EQ(Choose().request_count, 1U);
  EXPECT_EQ(Choose().batch_size, 3);
}

TEST_F(BatchPolicyTest, WithoutDelayTakesWhatIsThere) {
  Enqueue(1);
  Enqueue(2);
  EXPECT_EQ(Choose().batch_size, 3);
  EXPECT_EQ(Choose().ready_at_ns, 0);
}

TEST_F(BatchPolicyTest, NeverExceedsTheMaximumAndNeverSplitsARequest) {
  Enqueue(5);
  Enqueue(4);
  EXPECT_EQ(Choose().batch_size, 5);
  EXPECT_EQ(Choose().request_count, 1U);
}

TEST_F(BatchPolicyTest, TakesTheLargestPreferredSize) {
  spec_->dynamic_batching.preferred_batch_sizes = {4, 2};
  for (int i = 0; i < 5; ++i) Enqueue(1);
  EXPECT_EQ(Choose().batch_size, 4);
}

TEST_F(BatchPolicyTest, WaitsForAPreferredSizeUntilTheOldestHasWaitedTheDelay) {
  spec_->dynamic_batching.preferred_batch_sizes = {4};
  spec_->dynamic_batching.max_queue_delay_us = 100;
  Enqueue(1, 2, 1'000);
  Enqueue(2, 2, 90'000);
  EXPECT_EQ(Choose(2'000).ready_at_ns, 101'000);
  EXPECT_EQ(Choose(101'000).ready_at_ns, 0);
  EXPECT_EQ(Choose(101'000).batch_size, 3);
}

TEST_F(BatchPolicyTest, DoesNotWaitWhenTheNextRequestCannotJoin) {
  spec_->dynamic_batching.max_queue_delay_us = 100;
  Enqueue(1, 2);
  Enqueue(1, 3);
  EXPECT_EQ(Choose().ready_at_ns, 0);
  EXPECT_EQ(Choose().request_count, 1U);
}

TEST_F(BatchPolicyTest, DifferentShapesNeverShareABatch) {
  Enqueue(1, 2);
  Enqueue(1, 2);
  Enqueue(1, 5);
  Enqueue(1, 2);
  EXPECT_EQ(Choose().request_count, 2U);
}

TEST_F(BatchPolicyTest, FullBatchDoesNotWait) {
  spec_->dynamic_batching.max_queue_delay_us = 1'000'000;
  Enqueue(8);
  EXPECT_EQ(Choose().ready_at_ns, 0);
}

}  // namespace
}  // namespace fastserve
