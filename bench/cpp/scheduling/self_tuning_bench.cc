// The simulation of self-tuning batching, printed: each line is one model, measured cost and number
// of instances, with what `dynamic_batching { }` reaches and the best of the settings found by
// hand. The time of a line is that of its whole sweep and says nothing.
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "support/batching_simulation.h"

namespace fastserve {
namespace {

constexpr std::size_t kRequests = 20'000;

void BM_SelfTuning(benchmark::State& state, const MeasuredCost& cost, std::size_t instances) {
  Comparison found;
  for (auto _ : state) found = CompareWithHandTuned(cost, instances, kRequests);
  state.counters["rows/s"] = found.tuned_saturated.rows_per_second;
  state.counters["best rows/s"] = found.best_rows_per_second;
  state.counters["rate/best"] = found.tuned_saturated.rows_per_second / found.best_rows_per_second;
  state.counters["p99 us"] = found.tuned_half_load.p99_us;
  state.counters["best p99 us"] = found.best_p99_us;
  state.counters["p99/best"] = found.tuned_half_load.p99_us / found.best_p99_us;
  state.SetLabel("rate: " + found.best_for_rate + "; p99: " + found.best_for_p99);
}

// As many as the file has.
[[maybe_unused]] const bool kRegistered = [] {
  for (const MeasuredCost& cost : ReadMeasuredCosts(FASTSERVE_COST_CURVES)) {
    for (const std::size_t instances : {std::size_t{1}, std::size_t{2}}) {
      const std::string name = "BM_SelfTuning/" + cost.model + "/" + std::to_string(instances);
      benchmark::RegisterBenchmark(
          name.c_str(),
          [cost, instances](benchmark::State& state) { BM_SelfTuning(state, cost, instances); })
          ->Iterations(1)
          ->Unit(benchmark::kMillisecond);
    }
  }
  return true;
}();

}  // namespace
}  // namespace fastserve
