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

class CountedBatchPolicyTest : public BatchPolicyTest,
                               public ::testing::WithParamInterface<BatchInputKind> {};

TEST_P(CountedBatchPolicyTest, BatchEndsBeforeItsNumbersExceedInt32) {
  spec_->inputs[0].allow_ragged_batch = true;
  spec_->batch_inputs = {{"counts", GetParam(), DataType::kInt32, "X"}};
  const auto enqueue = [this](std::int64_t width, std::int64_t depth) {
    RequestPtr request = MakeRequest("r", nullptr, 0, 1, 1);
    request->inputs[0].shape = MakeShape({1, width, depth});
    queue_.Push(std::move(request));
  };
  enqueue(1, INT32_MAX - 1);
  enqueue(1, 1);
  enqueue(1, 1);
  EXPECT_EQ(Choose().request_count, 2U);
  queue_.Remove(queue_.front());
  enqueue(std::int64_t{INT32_MAX} + 1, 0);  // no elements, a dimension that does not fit
  EXPECT_EQ(Choose().request_count, 2U);
  while (queue_.Next(queue_.front()) != nullptr) queue_.Remove(queue_.front());
  enqueue(1, 1);
  EXPECT_EQ(Choose().request_count, 1U) << "too large by itself: alone";
}

INSTANTIATE_TEST_SUITE_P(Kinds, CountedBatchPolicyTest,
                         ::testing::Values(BatchInputKind::kElementCount,
                                           BatchInputKind::kAccumulatedElementCount,
                                           BatchInputKind::kAccumulatedElementCountWithZero,
                                           BatchInputKind::kItemShape));

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

// Batches of 4 rows are the most efficient, and callers come back 0.2 ms after their answers.
class TunedBatchPolicyTest : public BatchPolicyTest {
 protected:
  TunedBatchPolicyTest() {
    for (int i = 0; i < 400; ++i) {
      const std::int64_t rows = tuning_.row_limit();
      tuning_.OnFormed(now_ns_);
      tuning_.OnArrival(rows, now_ns_ + kReturnNs);
      now_ns_ += 10'000'000 + rows * (rows > 4 ? 20'000'000 : 10'000);
      tuning_.OnCompleted(rows, 10'000'000 + rows * (rows > 4 ? 20'000'000 : 10'000), now_ns_);
    }
    while (tuning_.row_limit() != 4) tuning_.OnFormed(now_ns_);  // not one that explores
  }
  BatchChoice ChooseTuned(const PolicyQueue& queue) {
    return BatchPolicy(*spec_).ChooseTuned(queue, tuning_, now_ns_);
  }
  static constexpr std::int64_t kReturnNs = 200'000;
  std::int64_t now_ns_ = 1;
  SelfTuning tuning_{8, 1};
};

TEST_F(TunedBatchPolicyTest, TakesNoMoreRowsThanTheLimit) {
  for (int i = 0; i < 7; ++i) Enqueue(1);
  EXPECT_EQ(ChooseTuned(queue_).batch_size, 4);
  EXPECT_EQ(ChooseTuned(queue_).ready_at_ns, 0);
}

TEST_F(TunedBatchPolicyTest, RequestOfMoreRowsThanTheLimitIsABatch) {
  Enqueue(6);
  Enqueue(1);
  EXPECT_EQ(ChooseTuned(queue_).request_count, 1U);
  EXPECT_EQ(ChooseTuned(queue_).batch_size, 6);
}

TEST_F(TunedBatchPolicyTest, WaitsForThoseWhoComeBack) {
  Enqueue(1);
  EXPECT_GT(ChooseTuned(queue_).ready_at_ns, now_ns_);
}

TEST_F(TunedBatchPolicyTest, DoesNotWaitWithAsManyRowsAsTheLimit) {
  Enqueue(1);
  ASSERT_GT(ChooseTuned(queue_).ready_at_ns, now_ns_);
  for (int i = 0; i < 400 && tuning_.row_limit() != 2; ++i) tuning_.OnFormed(now_ns_);
  ASSERT_EQ(tuning_.row_limit(), 2) << "a batch that tries the next smaller size";
  Enqueue(1);
  EXPECT_EQ(ChooseTuned(queue_).batch_size, 2);
  EXPECT_EQ(ChooseTuned(queue_).ready_at_ns, 0);
}

TEST_F(TunedBatchPolicyTest, DoesNotWaitWhenTheNextRequestCannotJoin) {
  Enqueue(1, 2);
  Enqueue(1, 3);
  EXPECT_EQ(ChooseTuned(queue_).ready_at_ns, 0);
}

TEST_F(TunedBatchPolicyTest, DoesNotWaitPastTheTimeoutOfARequest) {
  DynamicBatchingSpec spec;
  spec.default_queue_policy.default_timeout_us = 100;
  PolicyQueue queue(spec);
  RequestPtr request = MakeRequest("r", nullptr);
  request->timestamps.queue_start = now_ns_;
  queue.Push(std::move(request));
  EXPECT_EQ(ChooseTuned(queue).ready_at_ns, 0);
}

}  // namespace
}  // namespace fastserve
