// What the core knows of a model's sequence batching: Triton's ModelSequenceBatching, resolved and
// validated by the control plane.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "inference/data_type.h"
#include "inference/shape.h"

namespace fastserve {

enum class SequenceStrategy : std::uint8_t { kDirect, kOldest };

enum class ControlKind : std::uint8_t { kStart, kReady, kEnd, kCorrelationId };

// An input that the scheduler fills, one element per row: [rows,1], or [1] when the model does not
// batch.
struct ControlSpec {
  std::string input_name;
  ControlKind kind = ControlKind::kStart;
  // kInt32, kFp32 or kBool; for kCorrelationId kUint64, kInt64, kUint32, kInt32 or kBytes.
  DataType type = DataType::kInt32;
  double false_value = 0;  // an int32 or a float, exactly
  double true_value = 1;
};

// A tensor that the scheduler keeps for each sequence: what a step answers as `output_name` is the
// next step's `input_name`. Dimensions are without the batch dimension.
struct StateSpec {
  std::string input_name;
  std::string output_name;
  DataType type = DataType::kInvalid;
  Shape dims;  // -1 is variable
  Shape initial_dims;
  std::string initial_data;  // as a tensor's data; empty: zeros (or empty strings)
};

struct SequenceBatchingSpec {
  bool enabled = false;
  SequenceStrategy strategy = SequenceStrategy::kDirect;
  std::uint64_t max_sequence_idle_us = 1'000'000;
  std::uint64_t max_queue_delay_us = 0;
  double minimum_slot_utilization = 0;              // direct
  std::int64_t max_candidate_sequences = 0;         // oldest
  std::vector<std::int64_t> preferred_batch_sizes;  // oldest
  std::vector<ControlSpec> controls;
  std::vector<StateSpec> states;
  bool iterative = false;
};

}  // namespace fastserve
