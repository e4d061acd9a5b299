// A discrete-event simulation of one model's batching: the product's DynamicBatcher, queue and
// policies on a simulated clock; simulated are only the arrivals, the timer and what an execution
// takes. The same seed gives the same result everywhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "inference/model_spec.h"

namespace fastserve {

// What a batch of so many rows costs on one instance: alone, and while other instances execute too.
// By interpolation between measured sizes.
struct MeasuredCost {
  struct Point {
    double batch_size = 0;
    double alone_us = 0;
    double shared_us = 0;
  };
  std::string model;
  std::vector<Point> points;  // ascending

  std::int64_t CostNs(std::int64_t batch_size, bool shared) const;
  std::int64_t max_batch_size() const {
    return static_cast<std::int64_t>(points.back().batch_size);
  }
};

// The curves of a file of lines `model batch_size alone_us shared_us`; # begins a comment.
std::vector<MeasuredCost> ReadMeasuredCosts(const std::string& path);

struct SimulationOptions {
  MeasuredCost cost;
  DynamicBatchingSpec batching;
  std::size_t instances = 1;
  std::uint64_t seed = 1;
  std::size_t requests = 10'000;  // the first fifth is not counted
  int rows_per_request = 1;
  // Closed loop: so many callers, each of which sends again a while after it was answered. 0: open
  // loop with exponential intervals at `rows_per_second`.
  std::size_t callers = 0;
  double rows_per_second = 0;
};

struct SimulationResult {
  double rows_per_second = 0;
  double p99_us = 0;
  double mean_us = 0;
  double mean_batch_size = 0;
};

SimulationResult Simulate(const SimulationOptions& options);

// One setting that a user may find by hand.
struct HandTuned {
  std::string name;
  DynamicBatchingSpec batching;
};
// Preferred sizes times delays, the delays in parts of what one row costs.
std::vector<HandTuned> HandTunedSettings(const MeasuredCost& cost);

// dynamic_batching { } against the best of the hand-tuned settings, each figure's best by itself.
struct Comparison {
  SimulationResult tuned_saturated;
  SimulationResult tuned_half_load;
  double best_rows_per_second = 0;
  std::string best_for_rate;
  double best_p99_us = 0;
  std::string best_for_p99;
};
Comparison CompareWithHandTuned(const MeasuredCost& cost, std::size_t instances,
                                std::size_t requests);

}  // namespace fastserve
