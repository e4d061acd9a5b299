// One sequence of requests, known by its correlation id.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "inference/request.h"
#include "inference/tensor.h"
#include "scheduling/request_list.h"

namespace fastserve {

// The number 5 and the string "5" are different sequences.
using SequenceId = std::variant<std::uint64_t, std::string>;

// A slot of an instance: with the direct strategy, the row of its batches.
struct SequencePlace {
  std::size_t instance = 0;
  std::int64_t slot = 0;
};

// Owned by its SequenceTable, which guards it, but for `states`: those belong to whoever runs the
// sequence's request while `running` is set.
//
// Invariants: 1. at most one request runs; 2. requests run in the order of `again`, `waiting`;
// 3. only a request with START follows one with END.
struct Sequence {
  SequenceId id;
  std::uint64_t number = 0;            // tells sequences apart whatever their ids
  std::optional<SequencePlace> place;  // none: in the backlog
  RequestPtr running;
  RequestPtr again;  // rescheduled by the backend (iterative_sequence)
  RequestList waiting;
  // The START that the next requests belong to was cancelled.
  bool awaits_start = false;
  std::uint64_t ready_ticket = 0;  // its turn among the ready ones; 0 = not drawn
  std::int64_t idle_since_ns = 0;  // while neither running nor waiting
  std::vector<Tensor> states;      // one per StateSpec; empty: the initial ones

  InferRequest* front() const { return again ? again.get() : waiting.front(); }
};

}  // namespace fastserve
