// dynamic_batching { } against the best setting found by hand, with the costs measured of real
// models: bench/data/cost_curves.txt.
#include <gtest/gtest.h>

#include <string>

#include "support/batching_simulation.h"

namespace fastserve {
namespace {

constexpr std::size_t kRequests = 4000;

struct Allowed {
  std::size_t instances;
  double rate;
  double p99;
};
// Two instances share the cores, so that the cost of a size depends on what the other one does,
// which the tuning does not know: it is allowed more.
constexpr Allowed kAllowed[] = {{1, 0.05, 0.05}, {2, 0.05, 0.1}};

class SelfTuningSimulationTest : public ::testing::TestWithParam<Allowed> {};

TEST_P(SelfTuningSimulationTest, IsCloseToTheBestHandTunedSetting) {
  const auto curves = ReadMeasuredCosts(FASTSERVE_COST_CURVES);
  ASSERT_EQ(curves.size(), 3U) << FASTSERVE_COST_CURVES;
  for (const MeasuredCost& cost : curves) {
    SCOPED_TRACE(cost.model);
    const Comparison found = CompareWithHandTuned(cost, GetParam().instances, kRequests);
    EXPECT_GE(found.tuned_saturated.rows_per_second,
              found.best_rows_per_second * (1 - GetParam().rate))
        << "best: " << found.best_for_rate;
    EXPECT_LE(found.tuned_half_load.p99_us, found.best_p99_us * (1 + GetParam().p99))
        << "best: " << found.best_for_p99;
  }
}

INSTANTIATE_TEST_SUITE_P(Instances, SelfTuningSimulationTest, ::testing::ValuesIn(kAllowed));

MeasuredCost Line(double fixed_us, double row_us) {
  MeasuredCost cost;
  cost.model = "line";
  for (const double rows : {1.0, 32.0}) {
    const double cost_us = fixed_us + row_us * rows;
    cost.points.push_back({rows, cost_us, cost_us});
  }
  return cost;
}

SimulationOptions Tuned(const MeasuredCost& cost) {
  SimulationOptions options;
  options.cost = cost;
  options.batching.self_tuning = true;
  options.requests = kRequests;
  return options;
}

// A batch costs nearly the same whatever its size, as on an accelerator: taking the callers who are
// there would run two half batches in turn.
TEST(SelfTuningSimulationCasesTest, MergesCallersWhereBatchesAreFlat) {
  SimulationOptions options = Tuned(Line(10'000, 3));
  options.callers = 32;
  const SimulationResult tuned = Simulate(options);
  options.batching.self_tuning = false;
  const SimulationResult untuned = Simulate(options);
  EXPECT_GT(tuned.rows_per_second, 1.6 * untuned.rows_per_second);
}

// No batch ever has fewer than 8 rows: the tuning must not go on trying to make one.
TEST(SelfTuningSimulationCasesTest, RequestsOfSeveralRowsAreBatchedAsWellAsWithoutTuning) {
  SimulationOptions options = Tuned(Line(10'000, 3));
  options.callers = 32;
  options.rows_per_request = 8;
  const SimulationResult tuned = Simulate(options);
  options.batching.self_tuning = false;
  const SimulationResult untuned = Simulate(options);
  EXPECT_GE(tuned.rows_per_second, 0.97 * untuned.rows_per_second);
  EXPECT_GE(tuned.mean_batch_size, 0.9 * untuned.mean_batch_size);
}

TEST(SelfTuningSimulationCasesTest, AddsNoDelayAtLowLoad) {
  for (const double fixed_us : {0.0, 1000.0, 10'000.0}) {
    SimulationOptions options = Tuned(Line(fixed_us, 500));
    options.rows_per_second = 0.05 * 1e6 / (fixed_us + 500);
    const SimulationResult tuned = Simulate(options);
    options.batching.self_tuning = false;
    const SimulationResult untuned = Simulate(options);
    EXPECT_LE(tuned.mean_us, untuned.mean_us * 1.001) << fixed_us;
    EXPECT_LE(tuned.p99_us, untuned.p99_us * 1.001) << fixed_us;
  }
}

TEST(SelfTuningSimulationCasesTest, SameSeedGivesTheSameResult) {
  SimulationOptions options = Tuned(Line(2000, 500));
  options.rows_per_second = 1000;
  EXPECT_EQ(Simulate(options).p99_us, Simulate(options).p99_us);
  const double first = Simulate(options).mean_us;
  options.seed = 2;
  EXPECT_NE(Simulate(options).mean_us, first);
}

}  // namespace
}  // namespace fastserve
