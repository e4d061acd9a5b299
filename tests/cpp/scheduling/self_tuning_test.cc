#include "scheduling/self_tuning.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "base/clock.h"

namespace fastserve {
namespace {

// A model, and the executions that the tuning sees.
class SelfTuningTest : public ::testing::Test {
 protected:
  using Cost = std::function<std::int64_t(std::int64_t rows)>;

  // Runs batches as large as the tuning allows, one after the other, as under a queue that never
  // empties.
  void Saturate(SelfTuning* tuning, const Cost& cost, int batches = 400) {
    for (int i = 0; i < batches; ++i) {
      const std::int64_t rows = tuning->row_limit();
      tuning->OnArrival(rows, now_ns_);
      Run(tuning, rows, cost(rows));
    }
  }
  // Single rows with a pause before each.
  void Trickle(SelfTuning* tuning, const Cost& cost, std::int64_t pause_ns, int batches = 200) {
    for (int i = 0; i < batches; ++i) {
      now_ns_ += pause_ns;
      tuning->OnArrival(1, now_ns_);
      EXPECT_EQ(tuning->WaitUntilNs(1, now_ns_), 0) << "a wait at low load";
      Run(tuning, 1, cost(1));
    }
  }
  // Two groups of callers that run in turn: each comes back soon after its answers.
  void Alternate(SelfTuning* tuning, const Cost& cost, std::int64_t rows, std::int64_t return_ns) {
    for (int i = 0; i < 100; ++i) {
      tuning->OnFormed(now_ns_);
      tuning->OnArrival(rows, now_ns_ + return_ns);
      now_ns_ += cost(rows);
      tuning->OnCompleted(rows, cost(rows), now_ns_);
    }
  }
  void Run(SelfTuning* tuning, std::int64_t rows, std::int64_t cost_ns) {
    tuning->OnFormed(now_ns_);
    now_ns_ += cost_ns;
    tuning->OnCompleted(rows, cost_ns, now_ns_);
  }
  // The limit that holds but for single batches of another size.
  std::int64_t UsualLimit(SelfTuning* tuning, const Cost& cost) {
    const std::int64_t limit = tuning->row_limit();
    Saturate(tuning, cost, 1);
    return tuning->row_limit() == limit ? limit : UsualLimit(tuning, cost);
  }

  std::int64_t now_ns_ = kNsPerMs;
};

TEST_F(SelfTuningTest, BatchesAreAsLargeAsAllowedWhileNothingIsKnown) {
  const SelfTuning tuning(24, 1);
  EXPECT_EQ(tuning.row_limit(), 24);
  EXPECT_EQ(tuning.WaitUntilNs(1, now_ns_), 0);
}

TEST_F(SelfTuningTest, SaturatedModelWithAFixedCostRunsTheLargestBatch) {
  SelfTuning tuning(32, 1);
  const Cost cost = [](std::int64_t rows) { return 4 * kNsPerMs + rows * kNsPerMs; };
  Saturate(&tuning, cost);
  EXPECT_EQ(UsualLimit(&tuning, cost), 32);
}

TEST_F(SelfTuningTest, SaturatedModelWithDearerLargeBatchesRunsSingleRows) {
  SelfTuning tuning(32, 1);
  const Cost cost = [](std::int64_t rows) { return rows * kNsPerMs + rows * rows * kNsPerMs / 20; };
  Saturate(&tuning, cost);
  EXPECT_EQ(UsualLimit(&tuning, cost), 1);
}

TEST_F(SelfTuningTest, SaturatedModelRunsTheSizeAtWhichRowsCostLeast) {
  SelfTuning tuning(32, 1);
  // A fixed cost, and a cache that holds eight rows.
  const Cost cost = [](std::int64_t rows) {
    return 2 * kNsPerMs + rows * kNsPerMs + (rows > 8 ? (rows - 8) * kNsPerMs : 0);
  };
  Saturate(&tuning, cost);
  EXPECT_EQ(UsualLimit(&tuning, cost), 8);
}

TEST_F(SelfTuningTest, SizesAreSmallerWhileTheLoadLeavesTime) {
  SelfTuning tuning(32, 1);
  const Cost cost = [](std::int64_t rows) { return kNsPerMs + 4 * rows * kNsPerMs; };
  Saturate(&tuning, cost);
  ASSERT_GE(UsualLimit(&tuning, cost), 16);
  Trickle(&tuning, cost, /*pause_ns=*/20 * kNsPerMs, /*batches=*/400);
  EXPECT_EQ(tuning.row_limit(), 1);
}

TEST_F(SelfTuningTest, CheapBatchesAreNotMadeSmallForTheSakeOfLatency) {
  SelfTuning tuning(32, 1);
  const Cost cost = [](std::int64_t rows) { return 5'000 + 100 * rows; };
  Saturate(&tuning, cost);
  Trickle(&tuning, cost, kNsPerMs);
  EXPECT_EQ(tuning.row_limit(), 32);
}

TEST_F(SelfTuningTest, SizesGrowAgainSoonAfterALongPause) {
  SelfTuning tuning(32, 1);
  const Cost cost = [](std::int64_t rows) { return 4 * kNsPerMs + rows * kNsPerMs; };
  Saturate(&tuning, cost);
  Trickle(&tuning, cost, /*pause_ns=*/3'600'000 * kNsPerMs);
  ASSERT_LE(tuning.row_limit(), 8);
  Saturate(&tuning, cost, 150);
  EXPECT_EQ(UsualLimit(&tuning, cost), 32);
}

TEST_F(SelfTuningTest, FailedExecutionsAreNoMeasurement) {
  SelfTuning tuning(8, 1);
  for (int i = 0; i < 10; ++i) tuning.OnCompleted(1, /*cost_ns=*/0, ++now_ns_);
  EXPECT_FALSE(tuning.costs().IsKnown(0));
  EXPECT_EQ(tuning.row_limit(), 8);
}

TEST_F(SelfTuningTest, SizesThatNoBatchHasAreNotTriedForEver) {
  SelfTuning tuning(32, 1);
  // Requests of 8 rows: a smaller limit only makes a batch of one of them.
  const auto run_batches = [&](int count) {
    int small = 0;
    for (int i = 0; i < count; ++i) {
      const std::int64_t limit = tuning.row_limit();
      small += limit < 8 ? 1 : 0;
      const std::int64_t rows = std::max<std::int64_t>(limit / 8 * 8, 8);
      tuning.OnArrival(rows, now_ns_);
      Run(&tuning, rows, 10 * kNsPerMs + rows * kNsPerMs / 100);
    }
    return small;
  };
  EXPECT_GT(run_batches(300), 0);
  EXPECT_EQ(run_batches(1000), 0);
}

TEST_F(SelfTuningTest, WaitsForCallersWhoComeBackTogether) {
  SelfTuning tuning(32, 1);
  const Cost cost = [](std::int64_t rows) { return 10 * kNsPerMs + rows * kNsPerMs / 100; };
  Saturate(&tuning, cost);
  Alternate(&tuning, cost, /*rows=*/16, /*return_ns=*/kNsPerMs / 5);
  const std::int64_t until_ns = tuning.WaitUntilNs(16, now_ns_);
  EXPECT_GT(until_ns, now_ns_ + kNsPerMs / 5);
  EXPECT_LT(until_ns, now_ns_ + kNsPerMs);
  EXPECT_EQ(tuning.WaitUntilNs(16, until_ns), 0) << "and no longer";
}

TEST_F(SelfTuningTest, StopsWaitingWhenTheyAreBack) {
  SelfTuning tuning(64, 1);
  const Cost cost = [](std::int64_t rows) { return 10 * kNsPerMs + rows * kNsPerMs / 100; };
  Saturate(&tuning, cost);
  Alternate(&tuning, cost, /*rows=*/16, /*return_ns=*/kNsPerMs / 5);
  ASSERT_NE(tuning.WaitUntilNs(16, now_ns_), 0);
  tuning.OnArrival(16, now_ns_ + kNsPerMs / 5);
  EXPECT_EQ(tuning.WaitUntilNs(32, now_ns_ + kNsPerMs / 5), 0);
}

TEST_F(SelfTuningTest, DoesNotWaitWhenABatchSavesLessThanTheWaitCosts) {
  SelfTuning tuning(32, 1);
  const Cost cost = [](std::int64_t rows) { return kNsPerMs + rows * kNsPerMs; };
  Saturate(&tuning, cost);
  Alternate(&tuning, cost, /*rows=*/16, /*return_ns=*/2 * kNsPerMs);
  EXPECT_EQ(tuning.WaitUntilNs(16, now_ns_), 0);
}

TEST_F(SelfTuningTest, NeverWaitsForAModelThatIsFasterThanATimer) {
  SelfTuning tuning(32, 1);
  const Cost cost = [](std::int64_t rows) { return 50'000 + rows; };
  Saturate(&tuning, cost);
  Alternate(&tuning, cost, /*rows=*/16, /*return_ns=*/100);
  EXPECT_EQ(tuning.WaitUntilNs(16, now_ns_), 0);
}

}  // namespace
}  // namespace fastserve
